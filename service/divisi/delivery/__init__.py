"""What is made of a recording and its stems as they pass: files of audio, pitch and notes, views, scores and warnings.
`deliver` does all of it, from file to files."""
