//! Clients of other makes, unchanged: curl, the `openai` and the `dicomweb-client` Python packages.

use crate::door::Served;
use crate::site::{Site, object};
use pericard_domain::actor::Role;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const OPENAI: &str = r#"
import sys, openai
url, token, ca = sys.argv[1:]
http = openai.DefaultHttpxClient(verify=ca, trust_env=False)
client = openai.OpenAI(base_url=url + "/v1", api_key=token, http_client=http, max_retries=0)
assert [m.id for m in client.models.list()] == ["parrot", "scales"]
ask = dict(model="parrot", messages=[{"role": "user", "content": "one two three"}])
whole = client.chat.completions.create(**ask, temperature=0, seed=7, user="me")
assert whole.choices[0].message.content == "one two three ", whole
assert whole.choices[0].finish_reason == "stop" and whole.usage.total_tokens == 7, whole
chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
assert chunks[0].choices[0].delta.role == "assistant"
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert text == "one two three ", text
assert chunks[-1].usage.completion_tokens == 3
with client.chat.completions.stream(**ask) as events:
    for event in events:
        pass
    assert events.get_final_completion().choices[0].message.content == "one two three "
assert client.completions.create(model="parrot", prompt="a b").choices[0].text == "a b "
for bad, error in [
    (dict(model="gpt-9"), openai.NotFoundError),
    (dict(messages=[{"role": "user", "content": "w " * 99}]), openai.BadRequestError),
    (dict(messages=[{"role": "user", "content": "busy"}]), openai.RateLimitError),
    (dict(messages=[{"role": "user", "content": "fail"}]), openai.InternalServerError),
    (dict(logit_bias={"5": 1}), openai.BadRequestError),
]:
    try:
        client.chat.completions.create(**{**ask, **bad})
        raise SystemExit(f"accepted {bad}")
    except error as e:
        assert e.body["message"], e
try:
    list(client.chat.completions.create(model="parrot", messages=[{"role": "user", "content": "fail"}], stream=True))
    raise SystemExit("a failed stream went unnoticed")
except openai.APIError as e:
    assert e.code == "model_failed", e
try:
    openai.OpenAI(base_url=url + "/v1", api_key="wrong", http_client=http, max_retries=0).models.list()
    raise SystemExit("a wrong key was accepted")
except openai.AuthenticationError:
    pass
print("ok")
"#;

const DICOMWEB: &str = r#"
import sys, io, pydicom
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
url, token, ca, *files = sys.argv[1:]
session = create_session()
session.trust_env, session.verify = False, ca
session.headers["Authorization"] = "Bearer " + token
client = DICOMwebClient(url=url + "/dicomweb", session=session)
given = [pydicom.dcmread(f) for f in files]
stored = client.store_instances(given)
assert len(stored.ReferencedSOPSequence) == len(given), stored
assert not hasattr(stored, "FailedSOPSequence"), stored
study = given[0].StudyInstanceUID
studies = client.search_for_studies(search_filters={"PatientID": given[0].PatientID})
assert [s["0020000D"]["Value"][0] for s in studies] == [study], studies
series = client.search_for_series(study)
instances = client.search_for_instances(study)
assert len(instances) == len(given), instances
back = {d.SOPInstanceUID: d for d in client.retrieve_study(study)}
assert set(back) == {d.SOPInstanceUID for d in given}
for d in given:
    assert back[d.SOPInstanceUID].PixelData == d.PixelData
    one = client.retrieve_instance(study, d.SeriesInstanceUID, d.SOPInstanceUID)
    assert one.PixelData == d.PixelData
    meta = client.retrieve_instance_metadata(study, d.SeriesInstanceUID, d.SOPInstanceUID)
    assert pydicom.Dataset.from_json(meta).PatientName == d.PatientName
assert len(client.retrieve_study_metadata(study)) == len(given)
assert len(client.retrieve_series(study, given[0].SeriesInstanceUID)) == 2
assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
print("ok")
"#;

/// A program that a test needs. Where the tests are run for good (`CI=true`) a missing one is a failure; elsewhere the
/// test says that it was not run.
fn needed(program: PathBuf) -> Option<PathBuf> {
    if Command::new(&program)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok()
    {
        return Some(program);
    }
    assert_ne!(
        std::env::var_os("CI"),
        Some(OsString::from("true")),
        "{} is missing",
        program.display()
    );
    eprintln!(
        "not run: {} is missing; `cargo xtask test` installs it",
        program.display()
    );
    None
}

fn python() -> Option<PathBuf> {
    let venv = std::env::var_os("PERICARD_PEERS_VENV").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let venv = venv.unwrap_or_else(|| home().join(".cache/pericard/venv"));
    needed(venv.join("bin/python"))
}

/// What it printed; it must have ended well.
async fn run(mut command: Command) -> String {
    let ran = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("no panic");
    let output = ran.expect("it starts");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

struct Guest {
    served: Served,
    url: String,
    token: String,
    dir: tempfile::TempDir,
}

impl Guest {
    async fn new() -> Self {
        let site = Site::new();
        let token = site.token(&Role::ALL).await;
        let served = Served::start(site).await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("https://localhost:{}", served.address.port());
        let guest = Self {
            served,
            url,
            token,
            dir,
        };
        std::fs::write(guest.ca(), &guest.served.ca).expect("room");
        guest
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    async fn python(&self, python: &Path, script: &str, files: &[PathBuf]) -> String {
        let mut command = Command::new(python);
        command
            .args(["-c", script, &self.url, &self.token])
            .arg(self.ca())
            .args(files);
        run(command).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_client_works_unchanged() {
    let Some(python) = python() else { return };
    let guest = Guest::new().await;
    assert_eq!(guest.python(&python, OPENAI, &[]).await, "ok\n");
    guest.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dicomweb_client_works_unchanged() {
    let Some(python) = python() else { return };
    let guest = Guest::new().await;
    let files = [(1, 1), (1, 2), (2, 1)].map(|(series, number)| {
        let path = guest.dir.path().join(format!("{series}-{number}.dcm"));
        std::fs::write(&path, object(1, series, number, 100)).expect("room");
        path
    });
    assert_eq!(guest.python(&python, DICOMWEB, &files).await, "ok\n");
    guest.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_http_2_and_streams() {
    let Some(curl) = needed(PathBuf::from("curl")) else {
        return;
    };
    let guest = Guest::new().await;
    let call = |arguments: &[&str], path: &str| {
        let mut command = Command::new(&curl);
        command
            .args(["-sS", "--noproxy", "*", "--cacert"])
            .arg(guest.ca());
        command.args(["-H", &format!("Authorization: Bearer {}", guest.token)]);
        command.args(arguments).arg(format!("{}{path}", guest.url));
        run(command)
    };
    let version = call(
        &["-o", "/dev/null", "-w", "%{http_version} %{response_code}"],
        "/v1/models",
    )
    .await;
    assert_eq!(version, "2 200");
    let body =
        r#"{"model":"parrot","stream":true,"messages":[{"role":"user","content":"one two"}]}"#;
    let json = ["-N", "-H", "Content-Type: application/json", "-d", body];
    let streamed = call(&json, "/v1/chat/completions").await;
    assert!(streamed.ends_with("data: [DONE]\n\n"), "{streamed}");
    let file = guest.dir.path().join("1.dcm");
    std::fs::write(&file, object(1, 1, 1, 200_000)).expect("room");
    let form = format!("file=@{}", file.display());
    let submitted = call(&["-F", &form], "/api/v1/studies").await;
    assert!(submitted.contains("\"stored\""), "{submitted}");
    let (out, path) = (
        guest.dir.path().join("out.dcm"),
        "/dicomweb/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.1",
    );
    let out_text = out.to_string_lossy();
    call(&["-H", "Accept: application/dicom", "-o", &out_text], path).await;
    assert!(std::fs::read(&out).expect("a file") == std::fs::read(&file).expect("a file"));
    guest.served.stop().await;
}
