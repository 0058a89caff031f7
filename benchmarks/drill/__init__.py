"""What a release promises, tried out against a hub on this machine: ``make drill``.

    python -m benchmarks.drill                  both parts, with the quickstart's family
    python -m benchmarks.drill --tiny           the same with models of two layers: minutes less
    python -m benchmarks.drill --write-docs     also writes the tables of docs/reliability.md

story    the life of a family through the real command line: release, change, drift, mend, roll back, load
faults   thousands of small releases in which something goes wrong, each checked at every write and at its end

toys     the small families that are released, and hubs prepared for them        toys.py
points   the n-th request of its kind: the same in every run                     points.py
watch    what must hold of the hub at every moment                               watch.py
cases    one release that something goes wrong in, and what came of it           cases.py
clients  a release in a process of its own, for kills and races                  clients.py
"""
