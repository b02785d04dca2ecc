#!/bin/sh
# Speech synthesisers and their voices, from Debian main (tested on bookworm), for divisi_workshop.choirs.speech_voices. As root.
set -eu
apt-get update -qq
apt-get install -y --no-install-recommends espeak-ng flite festival \
    festvox-ca-ona-hts festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-czech-ph \
    festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts festvox-suopuhe-lj festvox-suopuhe-mv \
    festvox-italp16k festvox-itapc16k festvox-ru
