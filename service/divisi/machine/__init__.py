"""Commands that do their work on this machine: separate in this process, run the service, look after a deployment.

They are added to the `divisi` command where this package is installed; the client's distribution does not have it.
"""
