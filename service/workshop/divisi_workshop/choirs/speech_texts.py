"""What the speech synthesisers read: prayers, psalms and syllables, so that many languages lend vowels and consonants.

The Latin, English and German texts are liturgical or biblical and centuries old; the others are plain sentences
written for this purpose. Any language may read Latin too: what its voice makes of it are its own sounds.
"""

LATIN = (
    "Kyrie eleison. Christe eleison. Kyrie eleison.",
    "Ave Maria, gratia plena, Dominus tecum. Benedicta tu in mulieribus, et benedictus fructus ventris tui, Iesus.",
    "Gloria in excelsis Deo, et in terra pax hominibus bonae voluntatis.",
    "Laudate Dominum, omnes gentes; laudate eum, omnes populi.",
    "Quoniam confirmata est super nos misericordia eius, et veritas Domini manet in aeternum.",
    "Sanctus, Sanctus, Sanctus, Dominus Deus Sabaoth. Pleni sunt caeli et terra gloria tua.",
    "Agnus Dei, qui tollis peccata mundi, miserere nobis. Dona nobis pacem.",
    "Dominus regit me, et nihil mihi deerit: in loco pascuae ibi me collocavit.",
    "Super flumina Babylonis illic sedimus et flevimus, cum recordaremur Sion.",
    "Sicut cervus desiderat ad fontes aquarum, ita desiderat anima mea ad te, Deus.",
)

SYLLABLES = (
    "La la la, lu lu, lo lo, li li, le le. Na na na, nu nu, no no, ni ni, ne ne.",
    "Do re mi fa sol la si do. Do si la sol fa mi re do.",
    "Ma me mi mo mu. Va ve vi vo vu. Ba be bi bo bu. Da de di do du. Ga ge gi go gu.",
    "Alleluia, alleluia, amen, hosanna.",
)

TEXTS: dict[str, tuple[str, ...]] = {
    "la": LATIN,
    "en": (
        "The Lord is my shepherd; I shall not want. He maketh me to lie down in green pastures.",
        "O sing unto the Lord a new song: sing unto the Lord, all the earth.",
        "Make a joyful noise unto the Lord, all ye lands. Serve the Lord with gladness.",
        "Early one morning the moon was low, and over the harbour the slow boats came home.",
    ),
    "de": (
        "Der Herr ist mein Hirte, mir wird nichts mangeln. Er weidet mich auf einer grünen Aue.",
        "Singet dem Herrn ein neues Lied, denn er tut Wunder.",
        "Über den Hügeln steht still der Mond, und leise rauscht der Fluss durch die Wiesen.",
    ),
    "fr": (
        "Le vent se lève sur la mer, et la lune éclaire les maisons du port.",
        "Chantons ensemble, mes amis, jusqu'à l'heure où le jour revient.",
    ),
    "es": (
        "La luna sube por la montaña y el río canta entre las piedras.",
        "Vamos todos a cantar una canción de amor y de esperanza.",
    ),
    "it": (
        "La luna sale piano sopra il mare e il vento porta una canzone lontana.",
        "Cantiamo insieme, amici, la sera è dolce e il cielo è pieno di stelle.",
    ),
    "ca": ("La lluna surt damunt del mar i el vent ens porta una cançó antiga.", "Cantem tots junts aquesta nit."),
    "cs": ("Nad řekou vychází měsíc a vítr nese starou píseň.", "Zpívejme spolu, dokud nepřijde ráno."),
    "fi": ("Kuu nousee järven ylle ja tuuli laulaa hiljaa.", "Lauletaan yhdessä, yö on lyhyt ja valoisa."),
    "pl": ("Nad rzeką wschodzi księżyc, a wiatr niesie starą pieśń.",),
    "sv": ("Månen stiger över sjön och vinden sjunger en gammal sång.",),
    "nl": ("De maan komt op boven het water en de wind zingt een oud lied.",),
    "pt": ("A lua nasce sobre o mar e o vento canta uma canção antiga.",),
    "hu": ("Felkel a hold a tó felett, és a szél régi dalt énekel.",),
    "ru": ("Луна встаёт над тихою рекой, и ветер песню старую поёт.", "Споёмте вместе, пока не настало утро."),
    "el": ("Το φεγγάρι ανεβαίνει πάνω από τη θάλασσα και ο άνεμος τραγουδά.",),
    "tr": ("Ay denizin üstünde yükselir ve rüzgar eski bir şarkı söyler.",),
    "sw": ("Mwezi unachomoza juu ya bahari na upepo unaimba wimbo wa zamani.",),
}


def texts_for(language: str) -> tuple[str, ...]:
    """Everything a voice of that language can read: its own sentences, Latin and syllables; not all can read Latin."""
    own = TEXTS.get(language, ())
    if language in ("ru", "el"):
        return own
    return own + (LATIN if language != "la" else ()) + SYLLABLES
