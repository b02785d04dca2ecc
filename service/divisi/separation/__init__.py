"""From a recording's samples to its stems: measured (`survey`), cut into segments and joined again (`segments`),
brought to the recording's own rate and channels (`full_band`), all by `separator`; `fitted_separator` stands in its
place for models that are fitted to the recording."""
