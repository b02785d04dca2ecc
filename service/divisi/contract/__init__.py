"""What is agreed with whoever uses the service, each part written once. Imports nothing of ours."""
