"""The worker: a supervisor that claims, beats and commits; a child that holds the engine. Read process_job first."""
