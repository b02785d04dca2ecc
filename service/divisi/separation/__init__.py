"""From a recording's samples to its stems: cut into segments (`segments`), joined again (`overlap_add`), carried to the
recording's own rate and channels (`full_band`), all by `separator`; `deliver` does it from file to files."""
