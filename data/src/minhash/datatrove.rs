//! MinHash as datatrove 0.10 does it: the same normalisation, words, hashes and constants, so that signatures can be compared.
//! Knows one text at a time.
//!
//! Words are what spaCy's tokenizer for English makes of a normalised text. Since punctuation has become spaces there, few of its
//! rules are left: contractions written without apostrophe, units after digits, symbols and currency signs. Others (its list of
//! emoticons, units in other scripts) are left out; signatures agree wherever those do not occur.

use regex::Regex;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh64::xxh64;

/// Number of constants.
pub(super) const CONSTANTS: usize = 112;

/// Factor and summand of each hash: numpy's `RandomState(1).randint`, factors first.
pub(super) fn constants(count: usize) -> Vec<(u64, u64)> {
    FACTORS.iter().zip(&SUMMANDS).map(|(a, b)| (*a, *b)).take(count).collect()
}

/// A run of digits, with at most one separator inside.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d+(?:[.,،٫⎖⎗⎘]\d+)?"));

/// What spaCy cuts off wherever it stands: pictographs and other symbols.
static SYMBOL: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\p{So}&&[^°]]"));

/// What ends a word and is cut off: a unit after a digit, or a currency sign.
static SUFFIX: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:[0-9](km²|km³|km|m²|m³|m|dm²|dm³|dm|cm²|cm³|cm|mm²|mm³|mm|ha|µm|nm|yd|in|ft|kg|g|mg|µg|t|lb|oz|kmh|mph|pa|hpa|mbar|mb|kb|gb|tb|k)|(\p{Sc}))$",
    )
});

/// What begins a word and is cut off: a currency sign.
static PREFIX: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:§|\p{Sc})"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant that tests compile")
}

/// Characters that become spaces, control characters aside.
const MARKS: &str = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»";

fn is_mark(c: char) -> bool {
    let code = u32::from(c);
    if code < 0x80 {
        return code < 9 || (11..32).contains(&code) || code == 127 || (c.is_ascii_punctuation() && MARKS.contains(c));
    }
    code < 160 || MARKS.contains(c)
}

/// The normalised text: lower case, numbers as `0`, no punctuation, one space between words, no diacritics.
pub(super) fn simplify(text: &str) -> String {
    let lower = text.to_lowercase();
    let numbers = NUMBER.replace_all(&lower, "0");
    let mut spaced = String::with_capacity(numbers.len());
    let mut waiting = false;
    for c in numbers.chars() {
        if is_mark(c) || c.is_whitespace() {
            waiting = true;
        } else {
            if waiting && !spaced.is_empty() {
                spaced.push(' ');
            }
            waiting = false;
            spaced.push(c);
        }
    }
    if spaced.is_ascii() {
        return spaced;
    }
    let bare: String = spaced.nfd().filter(|c| !is_nonspacing(*c)).collect();
    bare.trim().to_owned()
}

fn is_nonspacing(c: char) -> bool {
    static MN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\p{Mn}$"));
    u32::from(c) >= 0x300 && MN.is_match(c.encode_utf8(&mut [0; 4]))
}

/// The words of a normalised text, joined by one space.
pub(super) fn words(simple: &str) -> String {
    let mut joined = String::with_capacity(simple.len() + 16);
    let push = |joined: &mut String, word: &str| {
        if !word.is_empty() {
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(word);
        }
    };
    for chunk in simple.split(' ') {
        if let Some(parts) = CONTRACTIONS.get(chunk) {
            parts.iter().for_each(|part| push(&mut joined, part));
            continue;
        }
        if chunk.is_ascii() && !chunk.as_bytes().iter().any(u8::is_ascii_digit) {
            push(&mut joined, chunk);
            continue;
        }
        let (mut rest, mut ends) = (chunk, Vec::new());
        loop {
            if let Some(found) = PREFIX.find(rest) {
                push(&mut joined, found.as_str());
                rest = &rest[found.end()..];
            } else if let Some(found) = SUFFIX.captures(rest).and_then(|found| found.get(1).or(found.get(2))) {
                ends.push(found.as_str());
                rest = &rest[..found.start()];
            } else {
                break;
            }
        }
        let mut at = 0;
        for symbol in SYMBOL.find_iter(rest) {
            push(&mut joined, &rest[at..symbol.start()]);
            push(&mut joined, symbol.as_str());
            at = symbol.end();
        }
        push(&mut joined, &rest[at..]);
        ends.into_iter().rev().for_each(|end| push(&mut joined, end));
    }
    joined
}

/// Hashes of the n-grams; none when there are fewer words.
pub(super) fn shingles(text: &str, ngram: usize) -> Vec<u64> {
    let joined = words(&simplify(text));
    if joined.is_empty() {
        return Vec::new();
    }
    let mut starts: Vec<usize> = vec![0];
    starts.extend(memchr::memchr_iter(b' ', joined.as_bytes()).map(|at| at + 1));
    // The end of a word is one before the start of the next.
    let end = |word: usize| starts.get(word + 1).map_or(joined.len(), |next| next - 1);
    (0..(starts.len() + 1).saturating_sub(ngram))
        .map(|word| xxh64(&joined.as_bytes()[starts[word]..end(word + ngram - 1)], 0))
        .collect()
}

/// Contractions without their apostrophe, as spaCy takes them apart.
static CONTRACTIONS: LazyLock<BTreeMap<String, Vec<&'static str>>> = LazyLock::new(|| {
    let mut table: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    let mut add = |parts: &[&'static str]| drop(table.insert(parts.concat(), parts.to_vec()));
    for word in ["i", "you", "he", "she", "it", "we", "they"] {
        for parts in [&["ll"][..], &["ll", "ve"], &["d"], &["d", "ve"]] {
            add(&[&[word], parts].concat());
        }
    }
    for word in ["i", "you", "we", "they"] {
        add(&[word, "ve"]);
    }
    for word in ["you", "we", "they"] {
        add(&[word, "re"]);
    }
    for word in ["he", "she", "it"] {
        add(&[word, "s"]);
    }
    for word in ["who", "what", "when", "where", "why", "how", "there", "that"] {
        for parts in [&["s"][..], &["ll"], &["ll", "ve"], &["re"], &["ve"], &["d"], &["d", "ve"]] {
            add(&[&[word], parts].concat());
        }
    }
    for word in
        ["ca", "could", "do", "does", "did", "had", "may", "might", "must", "need", "ought", "sha", "should", "wo", "would"]
    {
        add(&[word, "nt"]);
        add(&[word, "nt", "ve"]);
    }
    for word in ["could", "might", "must", "should", "would"] {
        add(&[word, "ve"]);
    }
    for word in ["is", "are", "was", "were", "have", "has", "dare"] {
        add(&[word, "nt"]);
    }
    for parts in [&["i", "m"][..], &["i", "m", "a"], &["can", "not"], &["gon", "na"], &["got", "ta"], &["y", "all"]] {
        add(parts);
    }
    // Words of their own.
    for word in ["ill", "its", "hell", "shell", "shed", "were", "well", "whore"] {
        table.remove(word);
    }
    table
});

static FACTORS: [u64; CONSTANTS] = [
    775169054918279404,
    1758426461858698313,
    2109959069025162,
    965365488286768774,
    401325382989534145,
    1703346441743126658,
    1130051441076870728,
    1762784241922636285,
    401538927472639258,
    716042322565387541,
    815244983797985638,
    1110853719534651861,
    1465635305079316733,
    57506563652686493,
    505211975917066639,
    838727479550634565,
    780385900265431000,
    1082636226378482418,
    283838892089191903,
    1348484356917986391,
    936072031995811818,
    1720372350978982920,
    1169969703377029950,
    1241883087124931898,
    25625226007148417,
    361679113657972946,
    1568788725991793369,
    720433610630797940,
    826975332961259499,
    57968974610545097,
    1814178924063827016,
    850535481772967367,
    1529041984443575858,
    611791605100360196,
    1233664984050117401,
    1208550132088437804,
    1134491820483890203,
    1561068142528832849,
    337359223002198900,
    2662096424693203,
    2100366343476833345,
    2272005282452877338,
    561592535218511587,
    724575788541486984,
    1904183826989973146,
    1344648193880622103,
    619727673435799236,
    804538942828528767,
    696832086074912126,
    92760730228048028,
    357257325660623162,
    993090257743735975,
    1598006598579725601,
    286785215429783307,
    2150395256084530832,
    984365201973288024,
    1367228525499322312,
    400821414621316445,
    1647396391822001343,
    1379048364047586209,
    1887737050569905304,
    720455784159192386,
    1280206955645314894,
    722729898864855937,
    921478673934505214,
    662171862886500103,
    715634959063503318,
    274655559890433539,
    1283796700206534620,
    1596658653041296076,
    523922820580841550,
    230117649494758476,
    263352056799233068,
    1058682450511224351,
    418313753765229416,
    744403489731186478,
    968612313319578170,
    1803461786564664829,
    14980651099439201,
    1863084026736552971,
    153220345614122877,
    2281349539356141448,
    17384899557965977,
    1824352345109249501,
    367604757747313057,
    385282673040866498,
    979359603628154429,
    1657256394417291417,
    709120483056161652,
    2244889800033437827,
    2116689543321462493,
    1374084313144276835,
    1381884949962268343,
    1446033029236275690,
    611266146699233751,
    2066532958085233347,
    523509680078012392,
    1359146662721091127,
    52948149690579846,
    2160942293751064747,
    1413848896402184823,
    499133954986498327,
    201846032685059982,
    1978777819965811315,
    618614248984827574,
    2275592508583382027,
    291850381902561464,
    1004189732771057209,
    1215583606649627030,
    2256458337378950241,
    873278286232559572,
    223865076026037746,
];

static SUMMANDS: [u64; CONSTANTS] = [
    1062448801025099917,
    1324811268927594100,
    1217488311597731462,
    100775521383383736,
    71503144720579471,
    885896412999398395,
    1596100048030278082,
    2292394638421159733,
    366723709801908644,
    483507374032440056,
    522162562461265192,
    2235949585210378459,
    2029657444881885553,
    716306739587483085,
    974393427803837902,
    1697670337010853719,
    2290593402415132572,
    538343888607264301,
    1581979269522776948,
    1744983512659606478,
    1125808846525888896,
    343981791039746111,
    934007963372074531,
    1991773790767872477,
    1053404851543353986,
    237237038733719123,
    2094477501324246838,
    2252746632473157885,
    1037449266289342519,
    211311645193258271,
    1105286383762747614,
    2238391591237301384,
    821837035338323555,
    1982916584933322248,
    1857759398970506189,
    1623110274942190159,
    1101583836342502208,
    231616986851349715,
    1327691181208577137,
    1702197838485543700,
    1256231807310832911,
    1444255381494669787,
    42902454742971891,
    2191950179549041915,
    1299194599953098987,
    1500807354596368775,
    1752809426824068149,
    1786176085821440878,
    2118567300926164723,
    2190914504203751524,
    2212792323624167200,
    1456940403417483715,
    586447722759106259,
    342670382210209374,
    1291680585167188655,
    2053954687016252293,
    1961432329506782783,
    1270084851437757527,
    1242617054144874282,
    2095848151477744322,
    1471039734164907746,
    94837956732254865,
    939828747546450752,
    2219778448427847156,
    815952863767273617,
    275217274352977059,
    1223661685133629084,
    2215162532383274790,
    87022673460369866,
    1571183205760722246,
    50831080378748134,
    1227381464362988592,
    190280048193181630,
    1010043456706110057,
    1262389667950943488,
    266756186393216503,
    455086835550584083,
    918794838454833776,
    245282199234122803,
    1216767326165072010,
    2030358702377275716,
    409112435725675790,
    605345743814266389,
    1050949148475592060,
    257361052164127160,
    2017374420125007056,
    2154180424385901110,
    1365360136487033415,
    1386754629279803918,
    1045066892334153871,
    749055048214673205,
    305592579266007545,
    276843534351670229,
    2047416485587801838,
    1924188903974864428,
    913997788746244246,
    944130688119949750,
    806739497089626636,
    366640366875901243,
    1628156380473706444,
    903072637067301591,
    24525324454322813,
    185927603917723084,
    104448596761453350,
    397062628907991664,
    1346062807897531205,
    1422529324905212321,
    277051278387475866,
    944404313172274117,
    1513805725792048436,
    110622250926641691,
    1097409548522419201,
];
