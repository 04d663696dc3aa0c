"""The processes of a realtime run: thin shells around the cores that lockstep drives too.

`python -m dualsys.runtime.nodes ROLE FOLDER [PARENT]`; roles are world, system1, system2 and
recorder. The folder holds `run.json` and the sockets. Each node leaves `ROLE.json` with what it
counted.
"""
