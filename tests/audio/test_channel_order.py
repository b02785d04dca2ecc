import pytest

from divisi.audio.recording import vorbis_from_wav_order, wav_from_vorbis_order

# Vorbis I specification, section 4.3.9, against the order of WAVE_FORMAT_EXTENSIBLE's mask bits.
VORBIS = {3: "L C R", 5: "L C R BL BR", 6: "L C R BL BR LFE", 7: "L C R SL SR BC LFE", 8: "L C R SL SR BL BR LFE"}
WAV = {3: "L R C", 5: "L R C BL BR", 6: "L R C LFE BL BR", 7: "L R C LFE BC SL SR", 8: "L R C LFE BL BR SL SR"}


@pytest.mark.parametrize("num_channels", VORBIS)
def test_each_loudspeaker_gets_its_own_channel(num_channels: int) -> None:
    vorbis, wav = VORBIS[num_channels].split(), WAV[num_channels].split()
    to_vorbis, to_wav = vorbis_from_wav_order(num_channels), wav_from_vorbis_order(num_channels)
    assert to_vorbis is not None
    assert to_wav is not None
    assert [wav[place] for place in to_vorbis] == vorbis
    assert [vorbis[place] for place in to_wav] == wav


@pytest.mark.parametrize("num_channels", [1, 2, 4, 9, 32])
def test_other_numbers_of_channels_stay_as_they_are(num_channels: int) -> None:
    assert vorbis_from_wav_order(num_channels) is None
    assert wav_from_vorbis_order(num_channels) is None
