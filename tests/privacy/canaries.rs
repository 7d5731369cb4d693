//! Marked patients through every door of the appliance as it is shipped, with a mark of its own for every place that can
//! hold a text, while its gate sends to a hub. No mark is in anything that leaves, in the journal of the appliance, the gate
//! or the hub (all of them say all that they can say), in metrics, in what the hub keeps, or in an answer that says that
//! something is wrong; and those that the hospital asks for are there, so that a search that finds nothing can be believed.

use crate::national::National;
use crate::patients::Elements;
use crate::search::{Found, Search, mark};
use crate::support::{
    Appliance, Given, PERICARD, Process, cache, ended, files_in, free_port, needed, program, until,
};
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Every value representation that there is (PS3.5, section 6.2), with how many bytes one value takes; 0 for texts.
const REPRESENTATIONS: [(&str, usize); 34] = [
    ("AE", 0),
    ("AS", 0),
    ("AT", 4),
    ("CS", 0),
    ("DA", 0),
    ("DS", 0),
    ("DT", 0),
    ("FD", 8),
    ("FL", 4),
    ("IS", 0),
    ("LO", 0),
    ("LT", 0),
    ("OB", 1),
    ("OD", 8),
    ("OF", 4),
    ("OL", 4),
    ("OV", 8),
    ("OW", 2),
    ("PN", 0),
    ("SH", 0),
    ("SL", 4),
    ("SQ", 0),
    ("SS", 2),
    ("ST", 0),
    ("SV", 8),
    ("TM", 0),
    ("UC", 0),
    ("UI", 0),
    ("UL", 4),
    ("UN", 1),
    ("UR", 0),
    ("US", 2),
    ("UT", 0),
    ("UV", 8),
];
const ULTRASOUND: &str = "1.2.840.10008.5.1.4.1.1.6.1";
const STUDY: &str = "1.2.826.0.1.3680043.9.8.77";
const WORKITEM: &str = "1.2.826.0.1.3680043.9.8.78";
/// How long an answer to a message may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// Around a message on the line (MLLP).
const MESSAGE_BEGIN: u8 = 0x0B;
const MESSAGE_END: [u8; 2] = [0x1C, 0x0D];

/// Gives marks and remembers them.
#[derive(Default)]
struct Marks(RefCell<Vec<String>>);

impl Marks {
    fn next(&self) -> String {
        let mut given = self.0.borrow_mut();
        let mark = mark(10_000 + given.len() as u64);
        given.push(mark.clone());
        mark
    }

    fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

/// How an object is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Its pixels are fewer than it says.
    Pixels,
    /// It ends in the middle.
    Cut,
    /// Its identity is no UID.
    Identity,
    /// Its transfer syntax is nobody's.
    Syntax,
}

/// An object whose every place holds a mark: standard elements, each representation in private ones, a sequence, the file's
/// head and its pixels.
fn object(marks: &Marks, number: u32, flaw: Flaw) -> Vec<u8> {
    let uid = match flaw {
        Flaw::Identity => marks.next(),
        _ => format!("{STUDY}.1.{number}"),
    };
    let syntax = if flaw == Flaw::Syntax {
        "1.2.3.4.5"
    } else {
        "1.2.840.10008.1.2.1"
    };
    let mut meta = Elements::default();
    meta.text(0x0002, 0x0002, "UI", ULTRASOUND);
    meta.text(0x0002, 0x0003, "UI", &uid);
    meta.text(0x0002, 0x0010, "UI", syntax);
    meta.text(0x0002, 0x0012, "UI", "1.2.826.0.1.3680043.9.8");
    meta.text(0x0002, 0x0016, "AE", &marks.next());
    let mut file = marks.next().into_bytes(); // the preamble is anybody's
    file.resize(128, 0);
    file.extend(b"DICM");
    let mut length = Elements::default();
    length.element(0x0002, 0x0000, "UL", &(meta.0.len() as u32).to_le_bytes());
    file.extend([length.0, meta.0, data_set(marks, &uid, number, flaw).0].concat());
    if flaw == Flaw::Cut {
        file.truncate(file.len() * 2 / 3);
    }
    file
}

fn data_set(marks: &Marks, uid: &str, number: u32, flaw: Flaw) -> Elements {
    let mut set = Elements::default();
    set.text(0x0008, 0x0005, "CS", "ISO_IR 192");
    set.text(0x0008, 0x0016, "UI", ULTRASOUND);
    set.text(0x0008, 0x0018, "UI", uid);
    set.text(0x0008, 0x0020, "DA", "20260105");
    for (element, vr) in [
        (0x0050, "SH"),
        (0x0080, "LO"),
        (0x0081, "ST"),
        (0x0090, "PN"),
    ] {
        set.text(0x0008, element, vr, &marks.next());
        if element == 0x0050 {
            set.text(0x0008, 0x0060, "CS", "US");
        }
    }
    for element in [0x1010, 0x1030, 0x103E, 0x1070] {
        let vr = match element {
            0x1010 => "SH",
            0x1070 => "PN",
            _ => "LO",
        };
        set.text(0x0008, element, vr, &marks.next());
    }
    set.text(
        0x0010,
        0x0010,
        "PN",
        &format!("{}^{}", marks.next(), marks.next()),
    );
    set.text(0x0010, 0x0020, "LO", &marks.next());
    for (element, vr) in [
        (0x1000, "LO"),
        (0x1040, "LO"),
        (0x2154, "SH"),
        (0x21B0, "LT"),
        (0x4000, "LT"),
    ] {
        set.text(0x0010, element, vr, &marks.next());
    }
    set.text(0x0011, 0x0010, "LO", &marks.next());
    for (at, (vr, bytes)) in REPRESENTATIONS.iter().enumerate() {
        set.element(0x0011, 0x1000 + at as u16, vr, &value(marks, vr, *bytes));
    }
    set.text(0x0018, 0x1030, "LO", &marks.next());
    set.text(0x0020, 0x000D, "UI", STUDY);
    set.text(0x0020, 0x000E, "UI", &format!("{STUDY}.1"));
    set.text(0x0020, 0x0010, "SH", &marks.next());
    set.text(0x0020, 0x0013, "IS", &number.to_string());
    set.text(0x0020, 0x4000, "LT", &marks.next());
    pixels(&mut set, marks, flaw);
    set
}

/// A value that is the mark, as far as the representation lets it.
fn value(marks: &Marks, vr: &str, bytes: usize) -> Vec<u8> {
    let mark = marks.next();
    if vr == "SQ" {
        let mut item = Elements::default();
        item.text(0x0010, 0x0010, "PN", &mark);
        item.text(0x0040, 0xA160, "UT", &marks.next());
        let mut items = vec![0xFE, 0xFF, 0x00, 0xE0];
        items.extend((item.0.len() as u32).to_le_bytes());
        items.extend(item.0);
        return items;
    }
    let mut value = mark.into_bytes();
    let step = bytes.max(2);
    value.truncate(value.len() / step * step);
    value
}

fn pixels(set: &mut Elements, marks: &Marks, flaw: Flaw) {
    set.element(0x0028, 0x0002, "US", &1_u16.to_le_bytes());
    set.text(0x0028, 0x0004, "CS", "MONOCHROME2");
    set.element(0x0028, 0x0010, "US", &48_u16.to_le_bytes());
    set.element(0x0028, 0x0011, "US", &64_u16.to_le_bytes());
    for (element, value) in [(0x0100, 8_u16), (0x0101, 8), (0x0102, 7), (0x0103, 0)] {
        set.element(0x0028, element, "US", &value.to_le_bytes());
    }
    set.text(0x0028, 0x4000, "LT", &marks.next());
    let mut pixels = marks.next().into_bytes();
    pixels.resize(if flaw == Flaw::Pixels { 64 } else { 64 * 48 }, 20);
    set.element(0x7FE0, 0x0010, "OB", &pixels);
}

/// The appliance with its doors open, and every answer that said that something was wrong.
struct Visited {
    appliance: Appliance,
    /// Where messages are heard.
    hl7: SocketAddr,
    marks: Marks,
    refusals: RefCell<Vec<(String, String)>>,
}

impl Visited {
    /// Asks, and keeps the answer with its head when it is no success.
    fn ask(&self, args: &[&str], path: &str) -> u16 {
        let token = format!("Authorization: Bearer {}", self.appliance.token);
        let own = args.iter().any(|arg| arg.starts_with("Authorization"));
        let token: &[&str] = if own { &[] } else { &["-H", &token] };
        let output = Command::new("curl")
            .args([
                "--silent",
                "--include",
                "--insecure",
                "--noproxy",
                "*",
                "--path-as-is",
                "--max-time",
                "60",
            ])
            .args(token)
            .args(args)
            .arg(format!("https://{}{path}", self.appliance.https))
            .stdin(Stdio::null())
            .output()
            .expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = text
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or(0);
        if !(200..300).contains(&status) {
            self.refusals
                .borrow_mut()
                .push((format!("{args:?} {path}"), text));
        }
        status
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.appliance.dir.path().join(name);
        fs::write(&path, bytes).expect("written");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    fn by_dicom(&self) {
        for (number, flaw) in [
            (1, Flaw::None),
            (2, Flaw::Pixels),
            (3, Flaw::Cut),
            (4, Flaw::Identity),
            (5, Flaw::Syntax),
        ] {
            let name = format!("{}.dcm", self.marks.next());
            let path = self.file(&name, &object(&self.marks, number, flaw));
            let calling = self.marks.next();
            let sent = self
                .appliance
                .storescu(&["-aet", &calling], &[Path::new(&path)]);
            assert!(flaw != Flaw::None || sent.status.success(), "{sent:?}");
        }
        let Some(findscu) = program("findscu") else {
            return;
        };
        for key in [
            "PatientName",
            "PatientID",
            "StudyInstanceUID",
            "AccessionNumber",
        ] {
            let key = format!("{key}={}", self.marks.next());
            let (ip, port) = (
                self.appliance.dicom.ip().to_string(),
                self.appliance.dicom.port().to_string(),
            );
            let mut find = Command::new(&findscu);
            find.args([
                "-S",
                "-aec",
                "PERICARD",
                "-k",
                "QueryRetrieveLevel=STUDY",
                "-k",
                &key,
                &ip,
                &port,
            ]);
            find.output().expect("findscu"); // what it answers is the hospital's
        }
    }

    fn by_https(&self) {
        let mark = || self.marks.next();
        for (number, flaw) in [
            (11, Flaw::None),
            (12, Flaw::Cut),
            (13, Flaw::Identity),
            (14, Flaw::Syntax),
        ] {
            let path = self.file("object", &object(&self.marks, number, flaw));
            let data = format!("@{path}");
            self.ask(
                &[
                    "-H",
                    "Content-Type: application/dicom",
                    "--data-binary",
                    &data,
                ],
                "/api/v1/studies",
            );
            let boundary = mark();
            let head = format!(
                "--{boundary}\r\nContent-Type: application/dicom\r\nX-Of: {}\r\n\r\n",
                mark()
            );
            let body = [
                head.as_bytes(),
                &object(&self.marks, number + 10, flaw),
                format!("\r\n--{boundary}--\r\n").as_bytes(),
            ]
            .concat();
            let data = format!("@{}", self.file("parts", &body));
            let kind = format!(
                "Content-Type: multipart/related; type=\"application/dicom\"; boundary={boundary}"
            );
            self.ask(&["-H", &kind, "--data-binary", &data], "/dicomweb/studies");
            self.ask(
                &["-H", &kind, "--data-binary", &data],
                &format!("/dicomweb/studies/{}", mark()),
            );
        }
        for path in [
            "/dicomweb/studies?PatientName=M",
            "/dicomweb/studies?M=M",
            "/dicomweb/studies/M",
            "/dicomweb/studies/M/metadata",
            "/dicomweb/studies/M/series/M/instances/M/rendered",
            "/dicomweb/studies?limit=M",
            "/M",
            "/%2e%2e/M",
            "/fhir/Patient/M",
            "/fhir/Patient?name=M",
            "/api/v1/studies/M",
            "/api/v1/studies/M/results",
            "/api/v1/jobs/M",
            "/api/v1/jobs?study=M",
            "/api/v1/jobs?state=M",
            "/api/v1/audit?subject=M",
            "/api/v1/models/M",
            "/console/studies/M",
            "/v1/models/M",
        ] {
            let path = path
                .split('M')
                .map(str::to_owned)
                .reduce(|all, part| all + &mark() + &part);
            self.ask(&[], &path.expect("a path"));
        }
        for name in [
            "X-Patient",
            "User-Agent",
            "Referer",
            "Cookie",
            "Accept",
            "Content-Type",
            "Accept-Language",
            "Range",
            "Host",
            "traceparent",
        ] {
            let header = format!("{name}: {}", mark());
            self.ask(&["-H", &header], "/dicomweb/studies");
            self.ask(&["-H", &header, "--data-binary", "x"], "/api/v1/studies");
        }
        for scheme in ["Bearer", "Basic", "Digest"] {
            let header = format!("Authorization: {scheme} {}", mark());
            assert_eq!(self.ask(&["-H", &header], "/dicomweb/studies"), 401);
        }
        let method = mark();
        self.ask(&["-X", &method], "/dicomweb/studies");
    }

    /// Orders, patients and reports as messages. (What a header says of its sender comes back in every answer: it is how
    /// the answer finds its way.)
    fn by_messages(&self) {
        let mark = || self.marks.next();
        let person = || {
            let (id, name, given) = (mark(), mark(), mark());
            format!(
                "PID|1||{id}^^^HOSP^MR||{name}^{given}||19700101|F\rNTE|1||{}",
                mark()
            )
        };
        let order = |when: &str| {
            let (placer, filler) = (mark(), mark());
            format!(
                "{}\rORC|NW|{placer}|{filler}||||^^^{when}^^S\r\
                 OBR|1|{placer}|{filler}|CTH^{}||||||||||||||{}|RP1|S1||||US\rZZZ|{}",
                person(),
                mark(),
                mark(),
                mark()
            )
        };
        let report = |agreement: &str| {
            format!(
                "{}\rORC|RE|{}|{}\rOBR|1|{}|{}|||||||||||||||{}\r\
                 OBX|1|TX|121071^Finding^DCM||{}||||||F\r\
                 OBX|2|ST|111001^Algorithm Name^DCM||burned-in-text||||||F\r\
                 OBX|3|CWE|AGREEMENT^^99PERICARD||{agreement}||||||F",
                person(),
                mark(),
                mark(),
                mark(),
                mark(),
                mark(),
                mark()
            )
        };
        let messages = [
            ("ORM^O01^ORM_O01", order("20261129101500")),
            ("ORM^O01^ORM_O01", order(&mark())),
            ("ORM^O01^ORM_O01", format!("{}\rORC|NW", person())),
            (
                "ORM^O01^ORM_O01",
                format!("{}\rORC|{}|{}", person(), mark(), mark()),
            ),
            ("OMI^O23^OMI_O23", order("20261129101500")),
            ("ADT^A08^ADT_A01", format!("EVN|A08\r{}", person())),
            (
                "ADT^A40^ADT_A39",
                format!("EVN|A40\r{}\rMRG|{}^^^HOSP^MR", person(), mark()),
            ),
            ("ADT^A40^ADT_A39", format!("EVN|A40\r{}", mark())),
            ("ORU^R01^ORU_R01", report("AGREE^^99PERICARD")),
            ("ORU^R01^ORU_R01", report(&mark())),
            ("ORU^R01^ORU_R01", mark()),
            ("SIU^S12", format!("SCH|{}", mark())),
            ("ORM^O01^ORM_O01", format!("PID|1||\\X{}\\", mark())),
        ];
        let count = messages.len();
        let (mut taken, mut refused) = (0, 0);
        for (at, (kind, rest)) in messages.into_iter().enumerate() {
            let message = format!(
                "MSH|^~\\&|RIS|HOSP|PERICARD||20261129101500||{kind}|M{at}|P|2.5.1||||||UNICODE UTF-8\r{rest}\r"
            );
            let answer = self.told(message.as_bytes());
            if answer.contains("|AA|") || answer.contains("MSA|AA") {
                taken += 1;
                continue;
            }
            assert!(answer.contains("MSA|"), "{answer:?}");
            refused += 1;
            let asked = format!("message {at}, {kind}");
            self.refusals.borrow_mut().push((asked, answer));
        }
        eprintln!("of {count} messages {taken} were taken and {refused} refused");
        assert!(taken > 1 && refused > 4, "{taken} and {refused}");
        // No message of the kind that is spoken here; and none at all.
        for bytes in [
            mark().into_bytes(),
            [mark().as_bytes(), &[0xFF, 0xC3, 0x28], mark().as_bytes()].concat(),
        ] {
            let answer = self.told(&bytes);
            self.refusals
                .borrow_mut()
                .push(("no message".into(), answer));
        }
        let mut line = TcpStream::connect(self.hl7).expect("the door");
        line.write_all(mark().as_bytes()).expect("written");
    }

    /// Sends a message over a line of its own, and gives what came back.
    fn told(&self, message: &[u8]) -> String {
        let mut line = TcpStream::connect(self.hl7).expect("the door");
        line.set_read_timeout(Some(ANSWER_PATIENCE)).expect("set");
        let sent = [&[MESSAGE_BEGIN], message, &MESSAGE_END].concat();
        line.write_all(&sent).expect("written");
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(&MESSAGE_END) && matches!(line.read(&mut byte), Ok(1)) {
            answer.push(byte[0]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What is written of patients and asked of language models in more than a chat.
    fn by_texts(&self) {
        let mark = || self.marks.next();
        let json = "Content-Type: application/json";
        let impression = format!("/api/v1/studies/{STUDY}/impression");
        let elsewhere = format!("/api/v1/studies/{}/impression", mark());
        let (structure, deidentify) = ("/api/v1/texts/structure", "/api/v1/texts/deidentify");
        let unknown = format!("/api/v1/texts/{}", mark());
        for (path, body) in [
            (
                structure,
                format!("{{\"report\": \"No {} is seen.\"}}", mark()),
            ),
            (
                structure,
                format!("{{\"report\": \"{}\", \"model\": \"{}\"}}", mark(), mark()),
            ),
            (
                structure,
                format!("{{\"report\": \"{}\", \"{}\": 1}}", mark(), mark()),
            ),
            (structure, format!("{{\"report\": [\"{}\"]}}", mark())),
            (structure, format!("{{\"report\": \"{}", mark())),
            (
                deidentify,
                format!("{{\"text\": \"{} of {}\"}}", mark(), mark()),
            ),
            (
                deidentify,
                format!("{{\"text\": \"{}\", \"known\": \"{}\"}}", mark(), mark()),
            ),
            (
                deidentify,
                format!("{{\"text\": \"{}\", \"known\": [\"{}\"]}}", mark(), mark()),
            ),
            (
                deidentify,
                format!("{{\"text\": \"{}\", \"status\": \"{}\"}}", mark(), mark()),
            ),
            (deidentify, mark()),
            (&unknown, format!("{{\"text\": \"{}\"}}", mark())),
            (&impression, format!("{{\"status\": \"{}\"}}", mark())),
            (&impression, format!("{{\"model\": \"{}\"}}", mark())),
            (&elsewhere, "{}".to_owned()),
            (
                "/v1/tokenize",
                format!("{{\"model\": \"{}\", \"prompt\": \"{}\"}}", mark(), mark()),
            ),
            (
                "/v1/detokenize",
                format!(
                    "{{\"model\": \"smollm2-135m-instruct\", \"tokens\": [\"{}\"]}}",
                    mark()
                ),
            ),
        ] {
            let data = format!("@{}", self.file("text", body.as_bytes()));
            self.ask(&["-H", json, "--data-binary", &data], path);
        }
    }

    /// What is to be done, on the worklist.
    fn by_worklist(&self) {
        let mark = || self.marks.next();
        let json = "Content-Type: application/dicom+json";
        let item = |begins: &str| {
            format!(
                r#"{{"00741000": {{"vr": "CS", "Value": ["SCHEDULED"]}},
                "00741200": {{"vr": "CS", "Value": ["HIGH"]}},
                "00741204": {{"vr": "LO", "Value": ["{}"]}},
                "00404041": {{"vr": "CS", "Value": ["READY"]}},
                "00404005": {{"vr": "DT", "Value": ["{begins}"]}},
                "00100010": {{"vr": "PN", "Value": [{{"Alphabetic": "{}^{}"}}]}},
                "00100020": {{"vr": "LO", "Value": ["{}"]}},
                "00380010": {{"vr": "LO", "Value": ["{}"]}},
                "00404018": {{"vr": "SQ", "Value": [{{
                    "00080100": {{"vr": "SH", "Value": ["110001"]}},
                    "00080102": {{"vr": "SH", "Value": ["DCM"]}},
                    "00080104": {{"vr": "LO", "Value": ["Image Processing"]}}}}]}}}}"#,
                mark(),
                mark(),
                mark(),
                mark(),
                mark()
            )
        };
        let sent = |method: &str, path: &str, body: &str| {
            let data = format!("@{}", self.file("item", body.as_bytes()));
            let args = ["-X", method, "-H", json, "--data-binary", &data];
            self.ask(&args, &format!("/dicomweb/workitems{path}"))
        };
        let (good, own) = (item("20260312101500"), format!("?{WORKITEM}"));
        assert_eq!(sent("POST", &own, &good), 201);
        assert_eq!(sent("POST", &own, &good), 409);
        for (path, body) in [
            ("?1.2.826.0.1.3680043.9.8.79".to_owned(), item(&mark())),
            (format!("?{}", mark()), good.clone()),
            (own.clone(), good[..good.len() / 2].to_owned()),
            (
                own,
                format!("{{\"{}\": {{\"vr\": \"{}\"}}}}", mark(), mark()),
            ),
            (
                format!("/{WORKITEM}"),
                format!(
                    "{{\"00741204\": {{\"vr\": \"LO\", \"Value\": [\"{}\"]}}}}",
                    mark()
                ),
            ),
            (format!("/{}", mark()), item("20260312101500")),
            (
                format!("/{WORKITEM}/cancelrequest"),
                format!(
                    "{{\"00741238\": {{\"vr\": \"LT\", \"Value\": [\"{}\"]}}}}",
                    mark()
                ),
            ),
            (format!("/{WORKITEM}/subscribers/{}", mark()), String::new()),
        ] {
            sent("POST", &path, &body);
        }
        for (to, transaction) in [
            (mark(), "1.2.3".to_owned()),
            ("IN PROGRESS".to_owned(), mark()),
        ] {
            let body = format!(
                r#"{{"00741000": {{"vr": "CS", "Value": ["{to}"]}}, "00081195": {{"vr": "UI", "Value": ["{transaction}"]}}}}"#
            );
            sent("PUT", &format!("/{WORKITEM}/state"), &body);
        }
        for path in [
            format!("/{}", mark()),
            format!("?PatientName={}", mark()),
            format!("?{}={}", mark(), mark()),
            format!("?limit={}", mark()),
        ] {
            self.ask(&[], &format!("/dicomweb/workitems{path}"));
        }
    }

    /// Labels for an evaluation, most of them no labels.
    fn by_labels(&self) {
        let mark = || self.marks.next();
        for (labels, is_taken) in [
            (mark(), false),
            (format!("{},1\n", mark()), false),
            (format!("1.2.3,1\n1.2.4,{}\n", mark()), false),
            (format!("1.2.3,1\n{},{}\n", mark(), mark()), false),
            (format!("{STUDY},1\n"), true),
        ] {
            let file = self.file("labels", labels.as_bytes());
            let mut accept =
                self.appliance
                    .command(&["egress", "accept-plan", "1", "--labels", &file]);
            let output = ended(&mut accept);
            let said = [output.stdout, output.stderr]
                .map(|said| String::from_utf8_lossy(&said).into_owned());
            assert_eq!(output.status.success(), is_taken, "{said:?}");
            assert!(is_taken || said[1].contains("of the labels"), "{said:?}");
            self.refusals
                .borrow_mut()
                .push(("accept-plan".into(), said.concat()));
        }
    }

    fn by_chat(&self) {
        let mark = || self.marks.next();
        let json = "Content-Type: application/json";
        for body in [
            format!(
                "{{\"model\": \"smollm2-135m-instruct\", \"max_tokens\": 4, \"messages\": [{{\"role\": \"user\", \"content\": \"{} {}\"}}]}}",
                mark(),
                mark()
            ),
            format!(
                "{{\"model\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": \"{}\"}}]}}",
                mark(),
                mark()
            ),
            format!(
                "{{\"model\": \"smollm2-135m-instruct\", \"messages\": [{{\"role\": \"{}\", \"content\": \"{}\"}}]}}",
                mark(),
                mark()
            ),
            format!(
                "{{\"model\": \"smollm2-135m-instruct\", \"{}\": \"{}\", \"messages\": \"{}\"}}",
                mark(),
                mark(),
                mark()
            ),
            format!(
                "{{\"model\": \"smollm2-135m-instruct\", \"messages\": [{{\"role\": \"user\", \"content\": \"{}",
                mark()
            ),
            format!(
                "{{\"model\": \"smollm2-135m-instruct\", \"messages\": [{{\"role\": \"user\", \"content\": \"{}\"}}]}}",
                format!("{} ", mark()).repeat(9_000)
            ),
        ] {
            let data = format!("@{}", self.file("question", body.as_bytes()));
            for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"] {
                self.ask(&["-H", json, "--data-binary", &data], path);
            }
        }
        for body in [
            format!("{{\"job\": \"{}\", \"verdict\": \"agreed\"}}", mark()),
            format!("{{\"job\": 1, \"verdict\": \"{}\"}}", mark()),
            format!("{{\"{}\": 1}}", mark()),
            mark(),
        ] {
            for path in [
                format!("/api/v1/studies/{STUDY}/reviews"),
                format!("/api/v1/studies/{}/reviews", mark()),
            ] {
                self.ask(&["-H", json, "--data-binary", &body], &path);
            }
        }
    }
}

/// A hub that has a model of the hospital's and asks how good it is.
fn asking_hub() -> Option<National> {
    let package = needed(cache().join("packages/burned-in-text"))?;
    let manifest = fs::read(package.join("pericard-model.toml")).expect("a manifest");
    let digest = hex::encode(Sha256::digest(manifest));
    let hub = National::new("debug");
    hub.run(&[
        "model",
        "add",
        "--id",
        "300",
        "burned-in-text",
        "1.0.0",
        &digest,
    ]);
    hub.run(&[
        "evaluation",
        "publish",
        "--model",
        "300",
        "--metrics",
        "sensitivity",
    ]);
    Some(hub)
}

/// An appliance that is enrolled with it, says all that it can say in its journal, and hears messages at this port.
fn enrolled(hub: &National, port: u16) -> Option<Appliance> {
    let home = tempfile::tempdir().expect("a folder");
    let toml = format!(
        "[egress]\nweekly = true\nhold_days = 0\nslot_minutes = 1\ngate_dir = '{}'\n\
         [hl7]\nlisten = '127.0.0.1:{port}'\nfacility = 'HOSP'\n\
         [[hl7_peers]]\nname = 'ris'\naddress = '127.0.0.1'\nport = 9\napplication = 'RIS'\n\
         [[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n",
        home.path().join("desk").display()
    );
    let given = Given {
        toml: &toml,
        models: &["burned-in-text", "smollm2-135m-instruct"],
    };
    let mut appliance = Appliance::prepare_in(home, given)?;
    let text = fs::read_to_string(appliance.config()).expect("a configuration");
    let said = text.replace("log_level = 'info'", "log_level = 'debug'");
    assert_ne!(said, text);
    fs::write(appliance.config(), said).expect("written");
    hub.enrol(&appliance.config());
    appliance.restart();
    Some(appliance)
}

#[test]
fn no_mark_is_in_anything_that_leaves_is_logged_counted_or_answered_in_error() {
    if program("storescu").is_none() {
        return;
    }
    let Some(hub) = asking_hub() else { return };
    let port = free_port();
    let Some(appliance) = enrolled(&hub, port) else {
        return;
    };
    let started = |verbs: &[&str], config: &Path, log: &Path| {
        let config = config.to_str().expect("a path in UTF-8");
        let args = [verbs, &["--config", config]].concat();
        Process::start(Path::new(PERICARD), &args, log)
    };
    let (hub_log, gate_log) = (
        hub.config().with_extension("log"),
        appliance.dir.path().join("gate.log"),
    );
    let _served = started(&["hub", "serve"], &hub.config(), &hub_log);
    until("the hub's door", || hub.is_open().then_some(()));
    let gate = started(&["egress", "run"], &appliance.config(), &gate_log);
    let visited = Visited {
        appliance,
        hl7: ([127, 0, 0, 1], port).into(),
        marks: Marks::default(),
        refusals: RefCell::default(),
    };
    visited.by_dicom();
    visited.by_https();
    visited.by_chat();
    visited.by_messages();
    visited.by_texts();
    visited.by_worklist();
    let appliance = &visited.appliance;
    appliance.jobs_ended(STUDY);
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    until("the first frame at the hub", || {
        read(&gate_log).contains("frame 1: accepted").then_some(())
    });
    drop(gate);
    let once = appliance.pericard(&["egress", "run", "--once"]);
    assert_eq!(once.trim(), "the hub has every frame");
    visited.by_labels();

    let marks = visited.marks.all();
    eprintln!(
        "{} marks, {} refusals",
        marks.len(),
        visited.refusals.borrow().len()
    );
    assert!(marks.len() > 600, "{}", marks.len());
    assert!(visited.refusals.borrow().len() > 60);
    let mut leaks: Vec<(String, Found)> = Vec::new();
    let search = Search::of(&marks);
    let mut look = |place: String, bytes: &[u8]| {
        let found = search.all(bytes).into_iter();
        leaks.extend(found.map(|found| (place.clone(), found)));
    };
    for (asked, answer) in visited.refusals.borrow().iter() {
        look(format!("the answer to {asked}"), answer.as_bytes());
    }
    for (whose, journal) in [
        ("the appliance's", appliance.log()),
        ("the gate's", read(&gate_log)),
        ("the hub's", read(&hub_log)),
    ] {
        assert!(journal.contains(" INFO "), "{whose} journal: {journal}");
        look(format!("{whose} journal"), journal.as_bytes());
    }
    assert!(appliance.log().contains("DEBUG "), "all that it can say");
    let desk = appliance.dir.path().join("desk");
    for folder in [hub.data(), desk.join("sent"), desk.join("replies"), desk] {
        for file in files_in(&folder).iter().filter(|path| path.is_file()) {
            look(file.display().to_string(), &fs::read(file).expect("read"));
        }
    }
    let metrics = appliance.get("/metrics");
    assert_eq!(metrics.0, 200);
    look("the metrics".into(), metrics.1.as_bytes());
    look(
        "the preview".into(),
        appliance.get("/api/v1/egress/preview").1.as_bytes(),
    );
    look(
        "the ledger".into(),
        appliance
            .pericard(&["egress", "ledger", "--json"])
            .as_bytes(),
    );
    for folder in ["egress", "egress/frames"] {
        for file in files_in(&appliance.data().join(folder))
            .iter()
            .filter(|path| path.is_file())
        {
            look(file.display().to_string(), &fs::read(file).expect("read"));
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    // That marks were taken in at all: what the hospital asks for has them.
    let studies = appliance.get("/dicomweb/studies").1;
    assert!(search.any(studies.as_bytes()).is_some(), "{studies}");
}
