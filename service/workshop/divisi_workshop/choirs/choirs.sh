#!/bin/sh
# Everything that is trained and validated on besides the recordings, into CACHE: labels, choirs, the validation list.
#     service/workshop/divisi_workshop/choirs/choirs.sh DATA CACHE
# DATA holds nino_dios/, chorales/jsb_satb_16ths.json, hymns/satb_notes.json, voices/ and speech/. Run from the
# repository. Every step keeps what already exists, so an interrupted run goes on. Install the speech synthesisers first:
# speech_packages.sh.
set -eu
data=$1
cache=$2
python=${PYTHON:-.venv/bin/python}

guests() {
    "$python" -m divisi_workshop.choirs.guest_choirs --data "$data" --voices "$cache/guest_voices" "$@"
}
"$python" -m divisi_workshop.choirs "$data" "$cache"
guests --out "$cache/guests" --count 80
guests --out "$cache/guests_held_back" --count 6 --held-back
"$python" -m divisi_workshop.choirs.shoebox_rooms --out "$cache/halls" --count 60
"$python" benchmarks/valid_choirs.py "$data" "$cache" "$cache/syn_valid" --listed benchmarks/syn_valid.json
