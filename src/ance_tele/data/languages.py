"""Languages that BM25 knows: stemmer and frequent words of each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """A language.

    Attributes:
        name: In English.
        script: Unicode's name of its script.
        stemmer: Name of its Snowball stemmer; None where there is none.
        frequent: Its most frequent words, in lower case, parted by spaces; "" where nothing shares its script.
    """

    name: str
    script: str
    stemmer: str | None = None
    frequent: str = ""


UNSPACED_SCRIPTS = ("Han", "Thai", "Lao", "Khmer", "Myanmar")
"""Scripts, of the languages below, in which no spaces part words."""

LANGUAGES = {
    "af": Language("Afrikaans", "Latin", None, "die van en in is het dat op te vir met nie aan wat deur was sy ook"),
    "am": Language("Amharic", "Ethiopic"),
    "ar": Language("Arabic", "Arabic", "arabic", "في من على إلى أن التي عن هذا الذي ما هو مع كان هذه لا بين أو ذلك هي"),
    "bg": Language("Bulgarian", "Cyrillic", None, "и на в се за от е да с не по са това като или до през към че най"),
    "bn": Language("Bengali", "Bengali"),
    "ca": Language("Catalan", "Latin", "catalan", "de la el i que els les per un una en amb és del al no dels com més"),
    "cs": Language("Czech", "Latin", "czech", "a v na je se z do že to s o jako pro ve od jsou byl jak po který která"),
    "da": Language("Danish", "Latin", "danish", "og i at det er en til af på de som med for den et ikke fra blev hvad"),
    "de": Language("German", "Latin", "german", "der die das und in den von zu mit ist des im ein eine nicht für auf"),
    "el": Language("Greek", "Greek", "greek"),
    "en": Language("English", "Latin", "english", "the of and to in is a that for was on are as with by it from at"),
    "eo": Language("Esperanto", "Latin", "esperanto", "la de kaj en estas al kun por ke ne estis pri kiu el li ĝi sed"),
    "es": Language("Spanish", "Latin", "spanish", "de la que el en y los del se las por un una con para es como su al"),
    "et": Language("Estonian", "Latin", "estonian", "ja on ei see et oli mis kui ta ka oma kes või aga mida kus ning"),
    "eu": Language("Basque", "Latin", "basque", "eta da ez bat du dira zen ere izan baino hau hori dute edo zer non"),
    "fa": Language("Persian", "Arabic", "persian", "و در به از که این را با است برای آن یک تا بر های شد چه کرد می"),
    "fi": Language("Finnish", "Latin", "finnish", "ja on ei se että oli mikä joka kuin hän ovat myös mutta sen missä"),
    "fr": Language("French", "Latin", "french", "de la le et les des en un une du est que dans qui pour par sur au il"),
    "ga": Language("Irish", "Latin", "irish", "an na agus a i ar is le go bhí do de tá sé ag ó sa mar raibh cad"),
    "gu": Language("Gujarati", "Gujarati"),
    "he": Language("Hebrew", "Hebrew", None, "של את על לא הוא זה עם היא גם כי אל מה או בין"),
    "hi": Language("Hindi", "Devanagari", "hindi", "के है में की और का से को पर यह ने हैं कि एक भी क्या था इस लिए"),
    "hu": Language("Hungarian", "Latin", "hungarian", "a az és hogy nem is egy van volt meg ez ki mi mint csak hol"),
    "hy": Language("Armenian", "Armenian", "armenian"),
    "id": Language("Indonesian", "Latin", "indonesian", "yang dan di dari ini untuk dengan pada adalah dalam tidak"),
    "is": Language("Icelandic", "Latin", None, "og í að á er sem til við með það ekki um en var hann eru hvað fyrir"),
    "it": Language("Italian", "Latin", "italian", "di e il la che in un una per è del della non con sono le da si gli"),
    "ja": Language("Japanese", "Han"),
    "ka": Language("Georgian", "Georgian"),
    "km": Language("Khmer", "Khmer"),
    "kn": Language("Kannada", "Kannada"),
    "ko": Language("Korean", "Hangul"),
    "lo": Language("Lao", "Lao"),
    "lt": Language("Lithuanian", "Latin", "lithuanian", "ir yra kad į iš su kaip bet tai ne per apie buvo kas po už"),
    "lv": Language("Latvian", "Latin", None, "un ir ar no uz par kas ka tika kā bija vai arī pēc kur pie tas"),
    "mk": Language("Macedonian", "Cyrillic", None, "и на во се за од е да со не по што како ја го ги тоа која биле"),
    "ml": Language("Malayalam", "Malayalam"),
    "mr": Language("Marathi", "Devanagari", None, "आहे आणि या हे ते व होते मध्ये आहेत की हा काय त्या येथे असे"),
    "my": Language("Burmese", "Myanmar"),
    "ne": Language("Nepali", "Devanagari", "nepali", "छ र को मा हो गरेको पनि यो छन् भएको तथा के लागि थियो बाट कुन"),
    "nl": Language("Dutch", "Latin", "dutch", "de het een van en in is dat op te voor met zijn niet aan er ook als"),
    "no": Language("Norwegian", "Latin", "norwegian", "og i å det er en til av på de som med for den et ikke fra ble"),
    "or": Language("Odia", "Oriya"),
    "pa": Language("Punjabi", "Gurmukhi"),
    "pl": Language("Polish", "Latin", "polish", "w i na z do się że jest nie to o po jak co przez od dla są który"),
    "pt": Language("Portuguese", "Latin", "portuguese", "de a o que e do da em um uma para com os no na se por dos as"),
    "ro": Language("Romanian", "Latin", "romanian", "de și în a la cu pe care un o din este nu că se mai sunt pentru"),
    "ru": Language("Russian", "Cyrillic", "russian", "и в не на что с по как это из он за от для к был также или у"),
    "si": Language("Sinhala", "Sinhala"),
    "sk": Language("Slovak", "Latin", None, "a v na je sa z do že to s o ako pre vo od sú bol po ktorý ktorá čo"),
    "sl": Language("Slovenian", "Latin", None, "in je v na se za da z so ki po pa s od kot tudi bil ali ni kaj"),
    "sq": Language("Albanian", "Latin", None, "të e në dhe i me për që një nga është u si do por ka më"),
    "sr": Language("Serbian", "Cyrillic", "serbian", "и је у на се да за су од са као до који која о по из био што"),
    "sr-Latn": Language("Serbian or Croatian", "Latin", "serbian", "i je u na se da za su od sa kao do koji koja o po"),
    "sv": Language("Swedish", "Latin", "swedish", "och i att det är en till av på de som med för den ett inte från"),
    "sw": Language("Swahili", "Latin", None, "na ya wa kwa ni katika za la kama hii au kuwa cha yake vya"),
    "ta": Language("Tamil", "Tamil", "tamil"),
    "te": Language("Telugu", "Telugu"),
    "th": Language("Thai", "Thai"),
    "tl": Language("Filipino", "Latin", None, "ang ng sa mga at na ay ni para ito kung ano"),
    "tr": Language("Turkish", "Latin", "turkish", "ve bir bu da de için ile olarak olan ne en daha çok gibi kadar"),
    "uk": Language("Ukrainian", "Cyrillic", None, "і в на не що з та у як за до є це від для про його або також був"),
    "ur": Language("Urdu", "Arabic", None, "کے میں کی ہے اور سے کا کو نے پر ہیں یہ اس کہ تھا ایک کیا بھی"),
    "vi": Language("Vietnamese", "Latin", None, "và của là có các được cho trong không một những với người này"),
    "yi": Language("Yiddish", "Hebrew", "yiddish", "און די איז אין פון צו דער מיט אַז נישט"),
    "zh": Language("Chinese", "Han"),
}  # fmt: skip
"""By ISO 639 code; "sr-Latn" is Serbian or Croatian in Latin letters."""
