//! The language model through the `openai` client, unchanged.

use crate::support::*;

#[test]
fn the_openai_client_streams_and_eight_chats_at_once_all_finish() {
    if venv("python").is_none() {
        return;
    }
    let Some(appliance) = shared() else { return };
    let printed = python(
        "chat.py",
        &[
            &format!("https://{}/v1", appliance.https),
            &appliance.token,
            appliance.ca().to_str().expect("a path"),
            "smollm2-135m-instruct",
        ],
    );
    assert!(printed.expect("python").contains("ok"));
}
