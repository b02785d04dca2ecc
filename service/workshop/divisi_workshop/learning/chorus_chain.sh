#!/bin/sh
# The flagship from nothing: labels and choirs, every training run, the bundle with its measured figures.
#     service/workshop/divisi_workshop/learning/chorus_chain.sh DATA CACHE RUNS OUT
# Run from the repository, with service/workshop installed and the speech synthesisers (speech_packages.sh). Each step
# goes on where it was stopped and is quick once it is done; on one core all of it takes days. OUT receives the bundle.
set -eu
data=$1 cache=$2 runs=$3 out=$4
divisi=${DIVISI:-.venv/bin/divisi}

sh service/workshop/divisi_workshop/choirs/choirs.sh "$data" "$cache"

# train NAME [RUN…]: one configuration, started from what earlier runs have learned
train() {
    name=$1
    shift
    starts=""
    for run in "$@"; do starts="$starts --start-from $runs/$run/checkpoint.pt"; done
    # shellcheck disable=SC2086
    "$divisi" train "$name" --data "$data" --cache "$cache" --out "$runs/$name" $starts
}
train chorus_pitch
train chorus_mask
train chorus_adapt chorus_pitch chorus_mask
train chorus_pitch_again chorus_pitch
train chorus_adapt_again chorus_adapt chorus_pitch
train chorus_early chorus_pitch_again chorus_adapt_again
# So far with re-sung choirs in mind; now formant choirs among them.
train chorus_wide_pitch chorus_early
train chorus_wide_adapt chorus_early
train chorus_wide_pitch_again chorus_wide_pitch
# Rosters, voices of speech synthesisers, wider textures and rooms; then masks with the partials behind them.
train chorus_roster_pitch chorus_wide_pitch_again
train chorus_partials chorus_roster_pitch chorus_wide_adapt
train chorus_roster_pitch_again chorus_roster_pitch
# Longer stretches, and who sings: what `voices=auto` goes by.
train chorus_longer_pitch chorus_roster_pitch_again
train chorus_presence chorus_longer_pitch
train chorus chorus_longer_pitch chorus_presence chorus_partials

# The last stage: rooms and sections as all the earlier ones leave them.
python=${PYTHON:-.venv/bin/python}
"$python" -m divisi_workshop.learning.choir_examples --data "$data" --guests "$cache/guests" --halls "$cache/halls" \
    --chorus "$runs/chorus/checkpoint.pt" --out "$cache/choir_examples" --count 6000
"$python" -m divisi_workshop.learning.refine --chorus "$runs/chorus/checkpoint.pt" \
    --examples "$cache/choir_examples" --out "$runs/refine" --minutes 80 --batch-size 2

export_bundle() {
    "$divisi" export divisi_workshop.networks.chorus:build "$runs/refine/checkpoint.pt" \
        --card service/workshop/divisi_workshop/learning/cards/chorus.yaml "$@"
}
export_bundle --out "$runs/draft"
DIVISI_MODEL_STORE=$runs/draft "$divisi" evaluate --models chorus --dataset nino_dios --data "$data" --whole \
    --out "$runs/figures"
export_bundle --out "$out" --measured "$runs/figures/evaluation.json" --notes service/workshop/divisi_workshop/learning/cards/chorus.md
