"""divisi separates a recording of a choir or an ensemble into one stem per voice or instrument.

Start reading at `worker/process_job.py`: it holds the path of one recording from upload to stems.
"""

DISTRIBUTION = "divisi-choir"
"""What the package is called where packages are installed; `importlib.metadata` knows it by this name."""
