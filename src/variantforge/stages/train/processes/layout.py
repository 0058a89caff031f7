"""How many processes do a train step, on how many machines, and what each is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ALONE = "127.0.0.1"  # where processes of one machine find each other


@dataclass(frozen=True)
class Layout:
    """``processes`` on all ``machines`` together, as accelerate counts them. ``fsdp``: None for DDP."""

    processes: int = 1
    machines: int = 1
    machine_rank: int = 0
    main_process_ip: str | None = None
    main_process_port: int | None = None
    fsdp: Mapping[str, Any] | None = None
    launched: bool = False  # also when there is but one process: DeepSpeed wants a group

    @classmethod
    def of(cls, hints: Mapping[str, Any], args: Mapping[str, Any]) -> Layout:
        told = {"processes": hints.get("processes", 1), **hints.get("accelerate", {})}
        return cls(**told, launched=told["processes"] > 1 or bool(args.get("deepspeed")))

    @property
    def told(self) -> dict[str, Any]:
        """What a card or a person may want to know of it."""
        return {"count": self.processes, "sharding": "ddp" if self.fsdp is None else "fsdp2"}

    @property
    def here(self) -> int:
        """Processes on this machine."""
        return self.processes // self.machines

    def environment(self, local_rank: int, port: int) -> dict[str, str]:
        """What torchrun would tell the process ``local_rank`` of this machine."""
        told = {
            "RANK": self.machine_rank * self.here + local_rank,
            "WORLD_SIZE": self.processes,
            "LOCAL_RANK": local_rank,
            "LOCAL_WORLD_SIZE": self.here,
            "GROUP_RANK": self.machine_rank,
            "MASTER_ADDR": self.main_process_ip or ALONE,
            "MASTER_PORT": port,
            "TORCHELASTIC_USE_AGENT_STORE": True,
        }
        return {name: str(value) for name, value in told.items()}
