"""Learning tracks: stems at another speed and in another key, mixed for those who practise one part, and tagged."""
