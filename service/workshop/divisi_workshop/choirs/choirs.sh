#!/bin/sh
# Everything that is trained and validated on besides the recordings, into CACHE: labels, choirs, the validation list.
#     service/workshop/divisi_workshop/choirs/choirs.sh DATA CACHE
# DATA holds nino_dios/, chorales/jsb_satb_16ths.json, hymns/satb_notes.json, voices/ and speech/. Run from the
# repository. Every step keeps what already exists, so an interrupted run goes on. Install the speech synthesisers first:
# speech_packages.sh.
set -eu
data=$1
cache=$2
recordings=$data/nino_dios
labels=$cache/labels/nino_dios
chorales=$data/chorales/jsb_satb_16ths.json
python=${PYTHON:-.venv/bin/python}

step() {
    module=$1
    shift
    "$python" -m "divisi_workshop.choirs.$module" "$@"
}
step f0_labels --recordings "$recordings" --labels "$labels"
step resung --recordings "$recordings" --labels "$labels" --chorales "$chorales" --out "$cache/resung" --count 233
step formant_choirs --chorales "$chorales" --out "$cache/resung" --count 300
step speech_voices --out "$cache/speech_voices"
step wide_choirs textures speech --recordings "$recordings" --labels "$labels" --speech "$cache/speech_voices" \
    --chorales "$chorales" --out "$cache/resung" --count 600
step guest_choirs --data "$data" --voices "$cache/guest_voices" --out "$cache/guests" --count 80
step guest_choirs --data "$data" --voices "$cache/guest_voices" --out "$cache/guests_held_back" --count 6 --held-back
step shoebox_rooms --out "$cache/halls" --count 60
step valid_choirs render --list benchmarks/syn_valid.json --recordings "$recordings" --labels "$labels" \
    --chorales "$chorales" --out "$cache/syn_valid"
