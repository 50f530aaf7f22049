"""Short texts in many languages: pairs of a question and the passage that answers it, with the answer in it."""

PAIRS: dict[str, list[tuple[str, str, str]]] = {
    "zh": [
        ("长城有多长?", "长城是中国古代的防御工事,全长两万一千多公里,横跨多个省份。", "两万一千"),
        ("谁发明了造纸术?", "东汉的蔡伦改进了造纸术,用树皮和破布做成便宜的纸。", "蔡伦"),
        ("熊猫吃什么?", "大熊猫住在四川的山里,每天要吃十几公斤竹子。", "竹子"),
        ("珠穆朗玛峰在哪里?", "世界最高的珠穆朗玛峰位于中国和尼泊尔的边界上。", "尼泊尔"),
        ("北京什么时候举办奥运会?", "第二十九届夏季奥运会于2008年在北京举行。", "2008年"),
        ("维生素C有什么作用?", "维生素C帮助人体吸收铁,缺少它会得坏血病。", "坏血病"),
        ("茶叶从哪里来?", "茶树原产于云南,后来传到日本和印度。", "云南"),
        ("月亮为什么会发光?", "月亮自己不发光,我们看到的是它反射的太阳光。", "太阳光"),
        ("上海最高的楼叫什么?", "上海中心大厦高632米,是城里最高的建筑。", "上海中心大厦"),
        ("怎样煮米饭?", "先把大米洗干净,加水煮二十分钟,再焖一会儿。", "二十分钟"),
    ],
    "ja": [
        ("富士山の高さは?", "富士山は静岡県と山梨県にまたがる山で、標高は3776メートルです。", "3776メートル"),
        ("源氏物語を書いたのは誰ですか", "源氏物語は平安時代に紫式部が書いた長い物語である。", "紫式部"),
        ("新幹線はいつ開業しましたか", "東海道新幹線は東京オリンピックの年、1964年に開業した。", "1964年"),
        ("豆腐は何から作られますか", "豆腐は大豆のしぼり汁をにがりで固めた食べ物だ。", "大豆"),
        ("日本で一番大きい湖", "琵琶湖は滋賀県にあり、国内でもっとも広い湖である。", "琵琶湖"),
        ("桜はいつ咲きますか", "関東では三月の終わりに桜の花が咲き始める。", "三月"),
        ("コーヒーの産地はどこ?", "コーヒーはブラジルやエチオピアで多く栽培されている。", "ブラジル"),
        ("相撲の土俵の大きさ", "力士が戦う土俵は直径四メートル五十五センチの円だ。", "四メートル"),
        ("iPhoneを作る会社", "iPhoneはアップルという会社が売る携帯電話である。", "アップル"),
        ("猫は一日に何時間眠りますか", "猫はよく寝る動物で、一日に十四時間ほど眠る。", "十四時間"),
    ],
    "th": [
        ("แม่น้ำที่ยาวที่สุดในไทยคืออะไร", "แม่น้ำชียาวกว่าแม่น้ำสายอื่นทั้งหมดที่อยู่ในประเทศไทย", "แม่น้ำชี"),
        ("ต้มยำกุ้งใส่อะไรบ้าง", "ต้มยำกุ้งเป็นแกงรสเปรี้ยวเผ็ด ใส่กุ้ง ตะไคร้ และใบมะกรูด", "ตะไคร้"),
        ("ช้างหนักเท่าไร", "ช้างเอเชียตัวผู้หนักประมาณห้าพันกิโลกรัม", "ห้าพันกิโลกรัม"),
        ("เมืองหลวงของลาวชื่ออะไร", "เวียงจันทน์เป็นเมืองหลวงของลาว ตั้งอยู่ริมแม่น้ำโขง", "เวียงจันทน์"),
        ("สงกรานต์ตรงกับเดือนอะไร", "วันสงกรานต์คือปีใหม่ไทย อยู่ในเดือนเมษายน", "เมษายน"),
        ("ข้าวเหนียวมะม่วงเป็นของหวานหรือไม่", "ข้าวเหนียวมะม่วงเป็นของหวานที่กินกับกะทิ", "กะทิ"),
        ("ใครแต่งพระอภัยมณี", "สุนทรภู่เป็นกวีที่แต่งเรื่องพระอภัยมณี", "สุนทรภู่"),
        ("รถไฟฟ้าเปิดปีไหน", "รถไฟฟ้าบีทีเอสเปิดให้บริการในกรุงเทพเมื่อปี 2542", "2542"),
        ("ทุเรียนมีกลิ่นอย่างไร", "ทุเรียนเป็นผลไม้ที่มีหนามและกลิ่นแรงมาก", "กลิ่นแรง"),
        ("ภูเขาสูงที่สุดอยู่จังหวัดไหน", "ดอยอินทนนท์เป็นภูเขาสูงที่สุด อยู่ในจังหวัดเชียงใหม่", "เชียงใหม่"),
    ],
    "hi": [
        ("ताजमहल किसने बनवाया था?", "ताजमहल आगरा में है और इसे शाहजहाँ ने अपनी पत्नी की याद में बनवाया था।", "शाहजहाँ"),
        ("भारत की राजधानी क्या है?", "नई दिल्ली देश की राजधानी है और यहाँ संसद भवन है।", "नई दिल्ली"),
        ("गंगा नदी कहाँ से निकलती है?", "गंगा नदी हिमालय के गंगोत्री से निकलती है।", "गंगोत्री"),
        ("चाय कहाँ उगाई जाती है?", "चाय असम और दार्जिलिंग के बागों में उगाई जाती है।", "असम"),
        ("गीतांजलि के लेखक कौन थे?", "गीतांजलि रवींद्रनाथ ठाकुर की कविताओं की पुस्तक है।", "रवींद्रनाथ ठाकुर"),
        ("विटामिन सी किसमें मिलता है?", "संतरे और नींबू में विटामिन सी बहुत मिलता है।", "नींबू"),
        ("बाघ कितना वज़न का होता है?", "एक बड़ा बाघ दो सौ किलो से ज़्यादा वज़न का होता है।", "दो सौ किलो"),
        ("दीवाली कब मनाई जाती है?", "दीवाली कार्तिक की अमावस्या को दीप जलाकर मनाई जाती है।", "कार्तिक"),
        ("सबसे ऊँची चोटी कौन सी है?", "कंचनजंगा देश की सबसे ऊँची चोटी मानी जाती है।", "कंचनजंगा"),
        ("क्रिकेट में कितने खिलाड़ी होते हैं?", "क्रिकेट की हर टीम में ग्यारह खिलाड़ी मैदान में होते हैं।", "ग्यारह"),
    ],
}
"""By language, ten questions and their passages."""

PLAIN: dict[str, str] = {
    "en": "The lake is in the north of the country. It was formed by ice, and it is known for its clear water.\n"
    "Which bird sings at night?\nA small boat was found on the shore by two boys on their way to school.",
    "de": "Der See liegt im Norden des Landes. Er ist durch das Eis entstanden und für sein klares Wasser bekannt.\n"
    "Welcher Vogel singt in der Nacht?\nEin kleines Boot wurde von zwei Jungen auf dem Weg zur Schule gefunden.",
    "fr": "Le lac se trouve dans le nord du pays. Il est connu pour son eau claire et pour les oiseaux de ses rives.\n"
    "Quel oiseau chante la nuit ?\nUn petit bateau est arrivé sur la plage avec deux enfants qui allaient à l'école.",
    "es": "El lago está en el norte del país. Es conocido por su agua clara y por las aves que viven en la orilla.\n"
    "¿Qué pájaro canta de noche?\nLos niños encontraron un barco en la playa cuando iban a la escuela con su padre.",
    "pt": "O lago fica no norte do país. É conhecido pela água clara e por não ter peixes grandes.\n"
    "Que ave canta à noite?\nOs meninos encontraram um barco na praia quando iam para a escola com o pai.",
    "it": "Il lago si trova nel nord del paese. È noto per le acque chiare e per gli uccelli che vivono sulla riva.\n"
    "Quale uccello canta di notte?\nUna piccola barca è stata trovata sulla spiaggia da due ragazzi del paese.",
    "nl": "Het meer ligt in het noorden van het land. Het is bekend om het heldere water en om de vogels op de oever.\n"
    "Welke vogel zingt in de nacht?\nEen kleine boot werd door twee jongens gevonden toen zij naar school gingen.",
    "sv": "Sjön ligger i norra delen av landet. Den är känd för sitt klara vatten och för att det inte finns fisk.\n"
    "Vilken fågel sjunger om natten?\nEn liten båt var på stranden och två pojkar från skolan fann den.",
    "da": "Søen ligger i den nordlige del af landet. Den er kendt for sit klare vand, og der blev ikke fundet fisk.\n"
    "Hvad hedder den fugl, der synger om natten?\nEn lille båd blev fundet af to drenge på vej til skole.",
    "no": "Innsjøen ligger i den nordlige delen av landet. Den er kjent for det klare vannet, og den ble ikke stor.\n"
    "Hva heter den fuglen som synger om natten?\nEn liten båt ble funnet av to gutter på vei til skolen.",
    "fi": "Järvi on maan pohjoisosassa, ja se on tunnettu siitä, että vesi on kirkasta.\n"
    "Mikä lintu laulaa yöllä?\nPojat löysivät veneen rannalta, kun he olivat matkalla kouluun, mutta ei heidän.",
    "pl": "Jezioro leży na północy kraju. Jest znane z czystej wody i z tego, że nie ma w nim ryb.\n"
    "Jaki ptak śpiewa w nocy?\nMałą łódź znaleźli na brzegu dwaj chłopcy, którzy szli do szkoły.",
    "cs": "Jezero leží na severu země. Je známé tím, že je v něm čistá voda a že se v něm nedá lovit.\n"
    "Který pták zpívá v noci?\nMalou loď našli na břehu dva chlapci, kteří šli do školy, jak to bylo po ránu.",
    "hu": "A tó az ország északi részén van. Arról ismert, hogy a vize tiszta, és nem él benne hal.\n"
    "Ki mondta meg, hogy mi az a madár?\nEgy kis csónak volt a parton, és két fiú találta meg.",
    "tr": "Göl ülkenin kuzeyinde ve çok temiz bir suyu var. Bu göl için eski bir hikâye de anlatılır.\n"
    "Geceleri öten kuş ne?\nKüçük bir tekne okula giden iki çocuk ile kıyıda bulundu, daha çok yeni gibi.",
    "id": "Danau itu ada di utara dan dikenal dengan air yang jernih. Ini adalah danau yang tidak dalam.\n"
    "Burung apa yang bernyanyi pada malam hari?\nPerahu kecil itu ditemukan oleh dua anak dari desa dalam perjalanan.",
    "ru": "Озеро лежит на севере страны. Оно известно тем, что вода в нём чистая, и это видно с берега.\n"
    "Какая птица поёт ночью?\nМальчики нашли лодку на берегу, как только вышли из школы, и не взяли её.",
    "uk": "Озеро лежить на півночі країни. Воно відоме тим, що вода в ньому чиста, і це видно з берега.\n"
    "Який птах співає вночі?\nХлопці знайшли човен на березі, як ішли до школи, та не взяли його.",
    "ar": "تقع البحيرة في شمال البلاد وهي معروفة على نطاق واسع. هذا الماء الذي في البحيرة صاف.\n"
    "ما هو الطائر الذي يغني في الليل؟\nعثر ولدان على قارب صغير كان على الشاطئ من القرية إلى المدرسة.",
    "fa": "این دریاچه در شمال کشور است و با آب پاک آن شناخته می شود. از آن برای ماهیگیری استفاده نمی شود.\n"
    "چه پرنده ای در شب می خواند؟\nدو پسر یک قایق را در ساحل پیدا کردند که از مدرسه به خانه می رفتند.",
    "el": "Η λίμνη βρίσκεται στα βόρεια της χώρας.\nΠοιο πουλί τραγουδά τη νύχτα;",
    "ko": "호수는 나라의 북쪽에 있고 물이 맑기로 유명하다.\n밤에 우는 새는 무엇입니까?",
    "bn": "হ্রদটি দেশের উত্তরে অবস্থিত এবং এর জল পরিষ্কার।\nরাতে কোন পাখি গান গায়?",
    "ta": "ஏரி நாட்டின் வடக்கில் உள்ளது.\nஇரவில் எந்த பறவை பாடும்?",
}  # fmt: skip
"""By language, a few texts, one a line."""
