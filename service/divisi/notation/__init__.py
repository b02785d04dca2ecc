"""What singers could read: tuning, notes, beats, bars and key of the parts, and files of them for score editors."""
