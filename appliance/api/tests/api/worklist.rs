//! UPS-RS: every operation, in the order in which a worklist's clients use them.

use crate::site::{Answer, Site, multipart, object};
use axum::body::Body;
use http::{Request, header};
use serde_json::{Value, json};

const JSON: &str = "application/dicom+json";
const UID: &str = "1.2.9.1";

/// A workitem that is done by somebody else.
fn workitem(label: &str) -> Value {
    json!({
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["HIGH"]},
        "00741204": {"vr": "LO", "Value": [label]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
        "00404005": {"vr": "DT", "Value": ["20260312101500"]},
        "00100020": {"vr": "LO", "Value": ["PID-7"]},
        "00404018": {"vr": "SQ", "Value": [{
            "00080100": {"vr": "SH", "Value": ["110001"]},
            "00080102": {"vr": "SH", "Value": ["DCM"]},
            "00080104": {"vr": "LO", "Value": ["Image Processing"]},
        }]},
    })
}

async fn sent(site: &Site, method: &str, path: &str, body: &Value) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/dicomweb/workitems{path}"))
        .header(header::HOST, "pacs:8443")
        .header(header::CONTENT_TYPE, JSON);
    site.call(request, body.to_string()).await
}

async fn state(site: &Site, to: &str, transaction: &str) -> Answer {
    let mut body = json!({"00741000": {"vr": "CS", "Value": [to]}});
    if !transaction.is_empty() {
        body["00081195"] = json!({"vr": "UI", "Value": [transaction]});
    }
    sent(site, "PUT", &format!("/{UID}/state"), &body).await
}

async fn created(site: &Site) {
    let answer = sent(site, "POST", &format!("?{UID}"), &json!([workitem("one")])).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let url = format!("https://pacs:8443/dicomweb/workitems/{UID}");
    assert_eq!(answer.header("location"), url);
}

fn performed() -> Value {
    json!({"00741216": {"vr": "SQ", "Value": [{
        "00404028": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["ws1"]}}]},
        "00404050": {"vr": "DT", "Value": ["20260312101500"]},
        "00404051": {"vr": "DT", "Value": ["20260312101600"]},
        "00404033": {"vr": "SQ"},
    }]}})
}

#[tokio::test]
async fn a_workitem_from_creation_to_completion() {
    let site = Site::new();
    created(&site).await;
    assert_eq!(
        sent(&site, "POST", &format!("?{UID}"), &workitem("one"))
            .await
            .status,
        409
    );
    let read = site.get(&format!("/dicomweb/workitems/{UID}")).await;
    assert_eq!(read.header("content-type"), JSON);
    assert_eq!(read.json()[0]["00080018"]["Value"][0], UID);
    assert_eq!(read.json()[0]["00741204"]["Value"][0], "one");
    // While it is scheduled anybody may change it.
    let more = json!({"00741204": {"vr": "LO", "Value": ["two"]}});
    assert_eq!(
        sent(&site, "POST", &format!("/{UID}"), &more).await.status,
        200
    );
    assert_eq!(
        state(&site, "COMPLETED", "1.2.3").await.status,
        409,
        "not yet claimed"
    );
    assert_eq!(
        state(&site, "IN PROGRESS", "").await.status,
        400,
        "claimed with nothing"
    );
    assert_eq!(state(&site, "IN PROGRESS", "1.2.3").await.status, 200);
    let again = state(&site, "IN PROGRESS", "1.2.3").await;
    assert_eq!(again.status, 409);
    assert!(again.header("warning").contains("already IN PROGRESS"));
    assert_eq!(
        state(&site, "IN PROGRESS", "1.2.4").await.status,
        409,
        "another's"
    );
    // Only whoever claimed it, from now on.
    for (query, status) in [
        ("", 400),
        ("?1.2.4", 409),
        ("?1.2.3", 200),
        ("?transaction-uid=1.2.3", 200),
    ] {
        let answer = sent(&site, "POST", &format!("/{UID}{query}"), &more).await;
        assert_eq!(answer.status, status, "{query} {}", answer.text());
    }
    let early = state(&site, "COMPLETED", "1.2.3").await;
    assert_eq!(early.status, 409, "nothing was performed");
    assert_eq!(
        sent(&site, "POST", &format!("/{UID}?1.2.3"), &performed())
            .await
            .status,
        200
    );
    assert_eq!(state(&site, "COMPLETED", "1.2.4").await.status, 409);
    assert_eq!(state(&site, "COMPLETED", "1.2.3").await.status, 200);
    let there = state(&site, "COMPLETED", "1.2.3").await;
    assert_eq!(there.status, 200);
    assert!(
        there
            .header("warning")
            .contains("already in the requested state of COMPLETED")
    );
    assert_eq!(state(&site, "CANCELED", "1.2.3").await.status, 409);
    assert_eq!(state(&site, "SCHEDULED", "1.2.3").await.status, 400);
    assert_eq!(
        sent(&site, "POST", &format!("/{UID}?1.2.3"), &more)
            .await
            .status,
        409
    );
    let read = site.get(&format!("/dicomweb/workitems/{UID}")).await.json();
    assert_eq!(read[0]["00741000"]["Value"][0], "COMPLETED");
    assert!(
        read[0].get("00081195").is_none(),
        "nobody is told the transaction UID"
    );
    let verbs: Vec<String> = site
        .audited()
        .await
        .into_iter()
        .map(|(verb, _)| verb)
        .collect();
    for verb in [
        "create workitem",
        "update workitem",
        "change workitem state",
        "retrieve workitem",
    ] {
        assert!(verbs.contains(&verb.to_owned()), "{verb}: {verbs:?}");
    }
}

#[tokio::test]
async fn what_is_no_workitem_is_refused() {
    let site = Site::new();
    let without = |tag: &str| {
        let mut item = workitem("x");
        item.as_object_mut().expect("a dataset").remove(tag);
        item
    };
    let with = |tag: &str, value: Value| {
        let mut item = workitem("x");
        item[tag] = value;
        item
    };
    for body in [
        without("00741000"),
        without("00741200"),
        without("00741204"),
        without("00404041"),
        without("00404005"),
        with("00741000", json!({"vr": "CS", "Value": ["IN PROGRESS"]})),
        with("00741200", json!({"vr": "CS", "Value": ["SOON"]})),
        with("00081195", json!({"vr": "UI", "Value": ["1.2.3"]})),
        with("00741216", json!({"vr": "SQ", "Value": [{}]})),
        with("PatientID", json!({"vr": "LO"})),
        with("00100020", json!("PID-7")),
        with("00404018", json!({"vr": "SQ", "Value": ["x"]})),
        json!([]),
        json!([workitem("a"), workitem("b")]),
        // An analysis of ours, of no study.
        with(
            "00404018",
            json!({"vr": "SQ", "Value": [{
                "00080100": {"vr": "SH", "Value": ["brain"]}, "00080102": {"vr": "SH", "Value": ["99PERICARD"]},
            }]}),
        ),
    ] {
        let answer = sent(&site, "POST", "", &body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    let text = Request::post("/dicomweb/workitems").header(header::CONTENT_TYPE, "text/plain");
    assert_eq!(site.call(text, "{}").await.status, 415);
    assert_eq!(
        site.get("/dicomweb/workitems").await.status,
        204,
        "nothing was kept"
    );
    assert_eq!(site.get("/dicomweb/workitems/1.2.3").await.status, 404);
    created(&site).await;
    let moved = json!({"00741000": {"vr": "CS", "Value": ["COMPLETED"]}});
    assert_eq!(
        sent(&site, "POST", &format!("/{UID}"), &moved).await.status,
        400
    );
    let other = json!({"00100020": {"vr": "LO", "Value": ["PID-8"]}});
    assert_eq!(
        sent(&site, "POST", &format!("/{UID}"), &other).await.status,
        400
    );
}

#[tokio::test]
async fn cancellation_is_made_or_told() {
    let site = Site::new();
    created(&site).await;
    let reason = json!({"00741238": {"vr": "LT", "Value": ["not needed"]}});
    let path = format!("/{UID}/cancelrequest");
    assert_eq!(sent(&site, "POST", &path, &reason).await.status, 202);
    let read = site.get(&format!("/dicomweb/workitems/{UID}")).await.json();
    assert_eq!(read[0]["00741000"]["Value"][0], "CANCELED");
    assert_eq!(read[0]["00741238"]["Value"][0], "not needed");
    assert!(read[0]["00741002"]["Value"][0]["00404052"]["Value"][0].is_string());
    let again = sent(&site, "POST", &path, &reason).await;
    assert!(again.status == 202 && again.header("warning").contains("CANCELED"));
    let bare = Request::post("/dicomweb/workitems/1.2.9.2/cancelrequest");
    assert_eq!(site.call(bare, Body::empty()).await.status, 404);
    // In progress it is told to whoever subscribed, and nothing else happens.
    assert_eq!(
        sent(&site, "POST", "?1.2.9.2", &workitem("two"))
            .await
            .status,
        201
    );
    let subscribe = Request::post("/dicomweb/workitems/1.2.9.2/subscribers/RIS");
    assert_eq!(site.call(subscribe, Body::empty()).await.status, 201);
    let claim = json!({
        "00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}, "00081195": {"vr": "UI", "Value": ["1.2.3"]},
    });
    assert_eq!(
        sent(&site, "PUT", "/1.2.9.2/state", &claim).await.status,
        200
    );
    assert_eq!(
        sent(&site, "POST", "/1.2.9.2/cancelrequest", &reason)
            .await
            .status,
        202
    );
    let read = site.get("/dicomweb/workitems/1.2.9.2").await.json();
    assert_eq!(read[0]["00741000"]["Value"][0], "IN PROGRESS");
    let told = site.store.notices("RIS").await.expect("notices");
    let events: Vec<_> = told
        .iter()
        .map(|n| n.report["00001002"]["Value"][0].clone())
        .collect();
    assert_eq!(events, [1, 1, 2]);
    assert_eq!(told[2].report["00741238"]["Value"][0], "not needed");
}

#[tokio::test]
async fn searches_and_their_pages() {
    let site = Site::new();
    for n in 1..=3 {
        let mut item = workitem(&format!("step {n}"));
        item["00741200"]["Value"][0] = ["HIGH", "LOW", "LOW"][n - 1].into();
        let answer = sent(&site, "POST", &format!("?workitem=1.2.9.{n}"), &item).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    for (query, expected) in [
        ("", vec!["1.2.9.3", "1.2.9.2", "1.2.9.1"]),
        (
            "?ScheduledProcedureStepPriority=LOW",
            vec!["1.2.9.3", "1.2.9.2"],
        ),
        ("?00741204=*1", vec!["1.2.9.1"]),
        (
            "?ScheduledWorkitemCodeSequence.CodeValue=110001&limit=1&offset=1",
            vec!["1.2.9.2"],
        ),
        (
            "?ScheduledProcedureStepStartDateTime=20260301-20260331&PatientID=PID-7",
            vec!["1.2.9.3", "1.2.9.2", "1.2.9.1"],
        ),
        (
            "?SOPInstanceUID=1.2.9.1,1.2.9.2",
            vec!["1.2.9.2", "1.2.9.1"],
        ),
    ] {
        let answer = site.get(&format!("/dicomweb/workitems{query}")).await;
        assert_eq!(answer.status, 200, "{query} {}", answer.text());
        let body = answer.json();
        let uids: Vec<_> = body
            .as_array()
            .expect("a list")
            .iter()
            .map(|i| i["00080018"]["Value"][0].clone())
            .collect();
        assert_eq!(uids, expected, "{query}");
    }
    assert_eq!(
        site.get("/dicomweb/workitems?PatientID=none").await.status,
        204
    );
    assert_eq!(
        site.get("/dicomweb/workitems?NoSuchThing=1").await.status,
        400
    );
}

#[tokio::test]
async fn subscriptions_to_all_begin_with_all_and_end_when_suspended() {
    let site = Site::new();
    created(&site).await;
    let (global, filtered) = ("1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1");
    let post = async |path: String| {
        let request =
            Request::post(format!("/dicomweb/workitems/{path}")).header(header::HOST, "pacs:8443");
        site.call(request, Body::empty()).await
    };
    let all = post(format!("{global}/subscribers/RIS?deletionlock=true")).await;
    assert_eq!(all.status, 201);
    assert_eq!(
        all.header("content-location"),
        "wss://pacs:8443/dicomweb/subscribers/RIS"
    );
    let urgent = post(format!(
        "{filtered}/subscribers/BOARD?filter=ScheduledProcedureStepPriority=HIGH"
    ))
    .await;
    assert_eq!(urgent.status, 201, "{}", urgent.text());
    assert_eq!(
        post(format!("{filtered}/subscribers/BOARD")).await.status,
        400,
        "no filter"
    );
    assert_eq!(
        post(format!("{filtered}/subscribers/BOARD?filter=NoSuch=1"))
            .await
            .status,
        400
    );
    assert_eq!(post("1.2.3/subscribers/RIS".into()).await.status, 404);
    assert_eq!(
        post(format!("{UID}/subscribers/RIS/suspend")).await.status,
        400
    );
    assert_eq!(state(&site, "IN PROGRESS", "1.2.3").await.status, 200);
    let mut low = workitem("low");
    low["00741200"] = json!({"vr": "CS", "Value": ["LOW"]});
    assert_eq!(sent(&site, "POST", "?1.2.9.2", &low).await.status, 201);
    let told = async |title: &str| site.store.notices(title).await.expect("notices").len();
    assert_eq!((told("RIS").await, told("BOARD").await), (2, 1));
    assert_eq!(
        post(format!("{global}/subscribers/RIS/suspend"))
            .await
            .status,
        200
    );
    assert_eq!(
        sent(&site, "POST", "?1.2.9.3", &workitem("late"))
            .await
            .status,
        201
    );
    assert_eq!((told("RIS").await, told("BOARD").await), (2, 2));
    let end = Request::delete(format!("/dicomweb/workitems/{UID}/subscribers/RIS"));
    assert_eq!(site.call(end, Body::empty()).await.status, 200);
    let again = Request::delete(format!("/dicomweb/workitems/{UID}/subscribers/RIS"));
    assert_eq!(site.call(again, Body::empty()).await.status, 404);
    let plain = site.get("/dicomweb/subscribers/RIS").await;
    assert_eq!(plain.status, 426, "a channel is a WebSocket");
}

#[tokio::test]
async fn an_order_names_its_study_and_goes_with_it() {
    let site = Site::new();
    let related = "multipart/related; type=\"application/dicom\"; boundary=b";
    let request = Request::post("/dicomweb/studies").header(header::CONTENT_TYPE, related);
    let stored = site
        .call(
            request,
            multipart(&[("application/dicom", &object(1, 1, 1, 10))]),
        )
        .await;
    assert_eq!(stored.status, 200);
    let mut order = workitem("brain");
    order["00404018"] = json!({"vr": "SQ", "Value": [{
        "00080100": {"vr": "SH", "Value": ["brain"]}, "00080102": {"vr": "SH", "Value": ["99PERICARD"]},
    }]});
    order["00404021"] =
        json!({"vr": "SQ", "Value": [{"0020000D": {"vr": "UI", "Value": ["1.2.3.1"]}}]});
    assert_eq!(
        sent(&site, "POST", &format!("?{UID}"), &order).await.status,
        201
    );
    let orders = site.store.open_orders(10).await.expect("orders");
    assert_eq!(orders.len(), 1);
    assert_eq!(
        orders[0].study.as_ref().map(|s| s.as_str()),
        Some("1.2.3.1")
    );
    let erase = Request::post("/api/v1/studies/1.2.3.1/erase?reason=test");
    let erased = site.call(erase, Body::empty()).await;
    assert_eq!(erased.status, 200, "{}", erased.text());
    assert_eq!(
        site.get(&format!("/dicomweb/workitems/{UID}")).await.status,
        404
    );
}
