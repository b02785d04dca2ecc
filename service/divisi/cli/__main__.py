"""`python -m divisi.cli` is `divisi`."""

from divisi.cli.app import main

main()
