"""The gateway: HTTP in, HTTP out. Takes uploads, queues jobs, shows how they fare and serves stems.

First stop of upload → job → worker → engine → stems. Never touches samples (a child process examines uploads) and
never reaches an engine. Start reading at `app`, then `acceptance`, which holds the way from an upload to a job.
"""
