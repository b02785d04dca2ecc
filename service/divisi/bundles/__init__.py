"""What a model is on disk: a card says what the graph takes, gives and reaches; a store finds and checks bundles."""
