"""Every failure variantforge names, and the exit code of each branch.

VariantforgeError                    1   something failed; the message says what, why and what to type next
├── UsageError                       2   the command line or a file it names is not usable as given
│   └── SpecError                    2   the family file has problems, all listed at once
├── StepError                        1   a step could not be done
│   ├── BaseError                        a base model cannot be read, or lacks what the family needs
│   ├── DataError                        rows that cannot be used: place and reason given
│   │   ├── ControlTokensInText              a text that the tokenizer would take for the form of a chat
│   │   ├── TeacherUnreachable               a teacher's endpoint gives no answer for longer than a step waits
│   │   ├── TeacherRefused                   a teacher's endpoint says no: key, model or question
│   │   └── Contaminated                     training data holds what the model will be measured on
│   ├── TrainError                       training would be, or has gone, wrong
│   │   ├── WrongRows                        rows of a kind that the method cannot learn from
│   │   ├── NoSupervisedTokens               not one token would be learned from
│   │   ├── StopTokenNotSupervised           the answer's end is outside the loss: it would never stop
│   │   ├── WrongSupervisedSpan              the supervised tokens do not decode to the answer
│   │   ├── TokenizersDiffer                 teacher and student do not read and write the same tokens
│   │   ├── UnmatchedTargets                 target_modules that name nothing in the model
│   │   ├── ExpertsUntrained                 experts of a mixture that no target reaches
│   │   ├── UnreachedModules                 adapters that no gradient reaches
│   │   ├── WrongAccumulation                the first step's loss is not the mean over its tokens
│   │   ├── PackingLeaks                     packed rows see each other
│   │   ├── NonFiniteLoss                    the loss is NaN or infinite
│   │   ├── LossSpike                        the loss has left its range for three steps
│   │   ├── OutOfMemory                      not even the smallest micro-batch fits
│   │   ├── WorkerDied                       one of several processes ended before the training did
│   │   ├── NothingRewarded                  no two answers to a prompt got different rewards
│   │   ├── RewardFailed                     a reward crashed, or gave what is no score
│   │   └── EmptyAdapter                     the saved adapter changes nothing
│   ├── MergeError                       the merged weights do not do what base and adapter do
│   │   └── WrongBase                        the adapter was trained on another base
│   ├── QuantizeError                    a file in the wanted format could not be made or read back
│   ├── EvaluateError                    a measurement could not be taken; never turned into a score
│   │   ├── JudgeUnreachable                 a judge's endpoint gives no answer for longer than a step waits
│   │   ├── JudgeRefused                     a judge's endpoint says no: key, model or question
│   │   ├── JudgeUnclear                     too many of a judge's verdicts cannot be read
│   │   └── UnpairedGate                     a gate's two sides were not measured on the same items
│   ├── PublishError                     what was to be published could not be written whole
│   └── KilledForMemory                  Linux killed the step's process, since memory had run out
├── HubError                         1   the Hub did not do what was asked
│   ├── NoAccess                         it does not know the token, or the token may not do this
│   ├── NotOnHub                         there is no such repo, revision or file, or it is hidden from this token
│   ├── MovedHead                        somebody else has written to the branch
│   ├── NameTaken                        a tag of that name points at another commit
│   ├── RateLimited                      it asks to wait longer than this command waits
│   ├── HubUnreachable                   no answer, or no useful one, for longer than this command waits
│   ├── TooLarge                         it does not take that much in one commit
│   └── BadRequest                       it says that what was sent is wrong
├── GateFailed                       3   measured, and not good enough to ship
├── DriftFound                       4   the published state is not what was released
│   └── NotAsLocked                      what a family needs is not what its lock holds
├── Interrupted                      5   stopped on request; the same command goes on from here
├── IntegrityError                   6   stored bytes are not the bytes that were written
│   └── NotInParity                      what was made does not say what it was made from
│       ├── TokenizersDisagree               llama.cpp cuts text into other tokens than transformers
│       ├── TemplatesDisagree                llama.cpp writes a chat otherwise than transformers
│       ├── WrongTokenType                   a control token that the file calls ordinary text
│       ├── TurnsNotEnded                    a template that goes on behind an answer's end
│       ├── WeightsDamaged                   tensors lost, or further from the merged weights than rounding takes them
│       ├── WrongQuantizationConfig          left over in merged weights, missing or another one in quantized ones
│       └── ReloadDiffers                    loaded as a user would, a folder says something else
├── Refused                          7   will not be done: licence, budget, unsafe file, missing sandbox
│   ├── UnsafeFile                       a file that can execute code when it is loaded
│   ├── OutOfSpace                       not enough disk; nothing was damaged
│   ├── OutOfBudget                      it would need more memory than the family file allows
│   ├── SandboxMissing                   generated code would have to run without walls around it
│   └── LicenceRefused                   what the model is made of may not be passed on like that
└── Locked                           8   another process works on this store
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from variantforge.redact import redacted


def printable(text: str) -> str:
    """``text`` without secrets, and with all that a terminal would obey, not show, as an escape; line ends stay."""
    text = redacted(text)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


class VariantforgeError(Exception):
    """A failure told as a short letter: what happened, why, and what to type next.

    ``what`` is one sentence. ``why`` explains it (may span lines). ``next`` is a command or an edit. They quote what
    was read from files and from the Hub, so each is made printable here, once for all errors.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", next: str = "") -> None:
        self.what, self.why, self.next = printable(what), printable(why), printable(next)
        super().__init__(self.what)

    def __str__(self) -> str:
        parts = [self.what, self.why, f"Next: {self.next}" if self.next else ""]
        return "\n".join(part for part in parts if part)

    def __reduce__(self) -> tuple[object, ...]:
        return _revive, (type(self), self.what, self.why, self.next)


def _revive(kind: type[VariantforgeError], what: str, why: str, next: str) -> VariantforgeError:
    return kind(what, why=why, next=next)


class UsageError(VariantforgeError):
    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a family file: where it stands and what to write instead."""

    where: str  # "family.yaml:17:5"
    key: str  # "variants.code.train.args.learning_rat"
    text: str  # "unknown key. Did you mean 'learning_rate'?"

    def __str__(self) -> str:
        return "  ".join(part for part in (self.where, self.key, self.text) if part)


class SpecError(UsageError):
    """All problems of one family file."""

    def __init__(self, problems: Sequence[Problem], *, next: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        what = "\n".join(str(problem) for problem in self.problems)
        super().__init__(what, why=f"{count} problem{'s' * (count != 1)} found; nothing was run.", next=next)

    def __reduce__(self) -> tuple[object, ...]:
        return _revive_spec, (self.problems, self.next)


def _revive_spec(problems: tuple[Problem, ...], next: str) -> SpecError:
    return SpecError(problems, next=next)


class StepError(VariantforgeError):
    pass


class BaseError(StepError):
    pass


class DataError(StepError):
    pass


class ControlTokensInText(DataError):
    pass


class TeacherUnreachable(DataError):
    pass


class TeacherRefused(DataError):
    pass


class Contaminated(DataError):
    pass


class TrainError(StepError):
    pass


class WrongRows(TrainError):
    pass


class NoSupervisedTokens(TrainError):
    pass


class StopTokenNotSupervised(TrainError):
    pass


class WrongSupervisedSpan(TrainError):
    pass


class TokenizersDiffer(TrainError):
    pass


class UnmatchedTargets(TrainError):
    pass


class ExpertsUntrained(TrainError):
    pass


class UnreachedModules(TrainError):
    pass


class WrongAccumulation(TrainError):
    pass


class PackingLeaks(TrainError):
    pass


class NonFiniteLoss(TrainError):
    pass


class LossSpike(TrainError):
    pass


class OutOfMemory(TrainError):
    pass


class WorkerDied(TrainError):
    pass


class NothingRewarded(TrainError):
    pass


class RewardFailed(TrainError):
    pass


class EmptyAdapter(TrainError):
    pass


class MergeError(StepError):
    pass


class WrongBase(MergeError):
    pass


class QuantizeError(StepError):
    pass


class EvaluateError(StepError):
    pass


class JudgeUnreachable(EvaluateError):
    pass


class JudgeRefused(EvaluateError):
    pass


class JudgeUnclear(EvaluateError):
    pass


class UnpairedGate(EvaluateError):
    pass


class PublishError(StepError):
    pass


class KilledForMemory(StepError):
    pass


class HubError(VariantforgeError):
    pass


class NoAccess(HubError):
    pass


class NotOnHub(HubError):
    pass


class MovedHead(HubError):
    """``head`` is the commit the branch is at now, None when that could not be read."""

    head: str | None = None


class NameTaken(HubError):
    pass


class RateLimited(HubError):
    pass


class HubUnreachable(HubError):
    pass


class TooLarge(HubError):
    pass


class BadRequest(HubError):
    pass


class GateFailed(VariantforgeError):
    exit_code = 3


class DriftFound(VariantforgeError):
    exit_code = 4


class NotAsLocked(DriftFound):
    pass


class Interrupted(VariantforgeError):
    exit_code = 5


class IntegrityError(VariantforgeError):
    exit_code = 6


class NotInParity(IntegrityError):
    pass


class TokenizersDisagree(NotInParity):
    pass


class TemplatesDisagree(NotInParity):
    pass


class WrongTokenType(NotInParity):
    pass


class TurnsNotEnded(NotInParity):
    pass


class WeightsDamaged(NotInParity):
    pass


class WrongQuantizationConfig(NotInParity):
    pass


class ReloadDiffers(NotInParity):
    pass


class Refused(VariantforgeError):
    exit_code = 7


class UnsafeFile(Refused):
    pass


class OutOfSpace(Refused):
    pass


class OutOfBudget(Refused):
    pass


class SandboxMissing(Refused):
    pass


class LicenceRefused(Refused):
    pass


class Locked(VariantforgeError):
    exit_code = 8
