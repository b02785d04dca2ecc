"""From choirs to checkpoints: configurations, losses and one readable loop. Read `train` first."""
