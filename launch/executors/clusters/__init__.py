"""Run a grid in the queue of PBS, LSF, HTCondor or Kubernetes, by their own commands: one job for each run."""
