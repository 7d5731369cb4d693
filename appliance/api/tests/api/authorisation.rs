//! Every route, and everybody who may not use it. The routes are those of the OpenAPI document, which is made of the
//! same table as the router: none can be forgotten.

use crate::console::Visitor;
use crate::site::Site;
use axum::body::Body;
use http::{Request, StatusCode, header};
use pericard_domain::actor::Role;
use serde_json::Value;
use std::time::Duration;

/// A route as the document has it.
struct Route {
    method: String,
    /// With its parameters filled in.
    path: String,
    /// `None`: open to all.
    roles: Option<Vec<String>>,
    /// Whether it is of the console: shown to whoever has a session.
    is_page: bool,
}

fn routes() -> Vec<Route> {
    let document = pericard_api::openapi();
    let paths = document["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().expect("operations");
        operations.iter().map(move |(method, operation)| {
            let roles = operation["x-roles"].as_array().map(|roles| {
                roles
                    .iter()
                    .map(|r| r.as_str().expect("a role").to_owned())
                    .collect()
            });
            Route {
                method: method.to_uppercase(),
                path: filled(path),
                roles,
                is_page: operation["tags"][0] == "Console",
            }
        })
    });
    each.collect()
}

fn filled(path: &str) -> String {
    path.replace("{study}", "1.2.3")
        .replace("{series}", "1.2.3.1")
        .replace("{instance}", "1.2.3.1.1")
        .replace("{job}", "1")
        .replace("{message}", "1")
        .replace("{frame}", "1")
        .replace("{path}", "7FE00010")
        .replace("{workitem}", "1.2.3")
        .replace("{aetitle}", "RIS")
        .replace("{id}", "report-1")
        .replace("{model}", "parrot")
}

fn request(method: &str, path: &str, secret: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(secret) = secret {
        request = request.header(header::AUTHORIZATION, format!("Bearer {secret}"));
    }
    request.body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn nobody_without_a_valid_token_gets_anywhere() {
    let mut site = Site::new();
    site.config.refused_identities_per_minute_max = u32::MAX;
    let ended = Some(Duration::from_secs(60));
    let (expired, _) = site.token_until(&Role::ALL, ended).await;
    site.clock.advance(Duration::from_secs(61));
    let (revoked, id) = site.token_until(&Role::ALL, None).await;
    let by = pericard_domain::actor::Actor::CommandLine;
    site.store.revoke_token(&id, by).await.expect("revoked");
    let other = pericard_api::mint().expect("random numbers").secret;
    let (mut asked, router) = (0, site.router());
    let programs = routes().into_iter().filter(|route| !route.is_page);
    for Route {
        method,
        path,
        roles,
        ..
    } in programs
    {
        for secret in [
            None,
            Some("hunter2"),
            Some(&*other),
            Some(&*expired),
            Some(&*revoked),
        ] {
            let request = request(&method, &path, secret);
            let response = tower::ServiceExt::oneshot(router.clone(), request)
                .await
                .expect("infallible");
            asked += 1;
            if roles.is_none() {
                assert_eq!(
                    (path.as_str(), response.status()),
                    ("/healthz", StatusCode::OK)
                );
                continue;
            }
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{method} {path}"
            );
            let challenge = response.headers()[header::WWW_AUTHENTICATE]
                .to_str()
                .expect("text");
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert_eq!(
                challenge.contains("invalid_token"),
                secret.is_some(),
                "{challenge}"
            );
        }
    }
    assert!(asked > 150, "only {asked} requests");
}

#[tokio::test]
async fn nobody_without_a_session_sees_a_page_and_a_session_opens_nothing_else() {
    let mut site = Site::new();
    site.config.refused_identities_per_minute_max = u32::MAX;
    let router = site.router();
    let secret = site.token(&Role::ALL).await;
    let visitor = Visitor::of(&router, &secret).await;
    let before = site.audited().await.len();
    let mut pages = 0;
    for route in routes().into_iter().filter(|route| route.roles.is_some()) {
        let (method, path) = (&route.method, &route.path);
        if !route.is_page {
            let answer = visitor.send(visitor.request(method, path)).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            continue;
        }
        // Nobody, somebody with a bearer token, and somebody with a session that is none.
        let made_up = Request::builder()
            .method(&**method)
            .uri(path)
            .header(header::COOKIE, "__Host-pericard=AAAA")
            .body(Body::empty())
            .expect("a request");
        for request in [
            request(method, path, None),
            request(method, path, Some(&secret)),
            made_up,
        ] {
            let answer = visitor.send(request).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{method} {path}");
            assert_eq!(answer.header("location"), "/console/login");
            assert_eq!(answer.body, b"", "{method} {path}");
            pages += 1;
        }
    }
    assert!(pages > 30, "only {pages}");
    let audited = site.audited().await.split_off(before);
    let others = audited.iter().filter(|(verb, _)| verb != "refuse");
    assert_eq!(others.count(), 0, "nothing was looked at: {audited:?}");
}

#[tokio::test]
async fn every_role_gets_where_it_may_and_nowhere_else() {
    let site = Site::new();
    let router = site.router();
    let (mut allowed, mut forbidden, mut refused) = (0, 0, 0);
    for role in Role::ALL {
        let secret = site.token(&[role]).await;
        let visitor = Visitor::of(&router, &secret).await;
        for Route {
            method,
            path,
            roles,
            is_page,
        } in routes()
        {
            let request = match is_page {
                true => visitor.request(&method, &path),
                false => request(&method, &path, Some(&secret)),
            };
            let response = tower::ServiceExt::oneshot(router.clone(), request)
                .await
                .expect("infallible");
            let may = roles.is_none_or(|roles| roles.iter().any(|r| r == role.name()));
            let status = response.status();
            // A page's form that is not our own is refused as well, after its visitor was let in.
            let is_forged = is_page && method == "POST" && may;
            if is_forged {
                assert!(!status.is_success(), "{method} {path}");
            }
            let was_forbidden = status == StatusCode::FORBIDDEN && !is_forged;
            assert_eq!(
                was_forbidden,
                !may,
                "{} {method} {path}: {}",
                role.name(),
                status
            );
            assert!(path == "/console/login" || status != StatusCode::UNAUTHORIZED);
            // An empty body is nothing that can be posted, which is a refusal of its own.
            let is_posted = method != "GET" && path != "/console/login";
            refused += usize::from(may && is_posted && !status.is_success());
            *(if may { &mut allowed } else { &mut forbidden }) += 1;
        }
    }
    assert!(
        allowed > 50 && forbidden > 50,
        "{allowed} allowed, {forbidden} forbidden"
    );
    let refusals = site
        .audited()
        .await
        .into_iter()
        .filter(|(verb, _)| verb == "refuse")
        .count();
    assert_eq!(
        refusals,
        forbidden + refused,
        "each of them is in the audit log"
    );
}

/// Its token lies in a file of another machine: whoever finds it there learns how busy the appliance is, and no more.
#[tokio::test]
async fn monitoring_reads_its_figures_and_nothing_else() {
    let site = Site::new();
    let router = site.router();
    let secret = site.token(&[Role::Monitor]).await;
    let visitor = Visitor::of(&router, &secret).await;
    let mut opened = Vec::new();
    for route in routes().into_iter().filter(|route| route.roles.is_some()) {
        let (method, path) = (&*route.method, &*route.path);
        let request = match route.is_page {
            true => visitor.request(method, path),
            false => request(method, path, Some(&secret)),
        };
        let response = tower::ServiceExt::oneshot(router.clone(), request)
            .await
            .expect("infallible");
        match (path, response.status()) {
            (_, StatusCode::FORBIDDEN) => {}
            (_, status) => opened.push((path.to_owned(), status)),
        }
    }
    opened.sort_unstable();
    let expected = [
        // Whoever is in may leave; this asks without a form.
        ("/console/logout", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("/metrics", StatusCode::OK),
        ("/readyz", StatusCode::OK),
    ];
    assert_eq!(
        opened,
        expected.map(|(path, status)| (path.to_owned(), status))
    );
}

#[tokio::test]
async fn what_is_no_route_tells_strangers_nothing() {
    let site = Site::new();
    for path in [
        "/console",
        "/api/v2/studies",
        "/v1/images/generations",
        "/dicomweb/../etc/passwd",
    ] {
        assert_eq!(
            site.send(request("GET", path, None)).await.status,
            401,
            "{path}"
        );
        assert_eq!(site.get(path).await.status, 404, "{path}");
    }
    assert_eq!(
        site.send(request("DELETE", "/api/v1/studies", None))
            .await
            .status,
        401
    );
    let wrong = site
        .call(Request::delete("/api/v1/studies"), Body::empty())
        .await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.header("content-type")),
        (405, "application/problem+json")
    );
}

#[tokio::test]
async fn strangers_cannot_fill_the_audit_log() {
    let mut site = Site::new();
    site.config.refused_identities_per_minute_max = 3;
    let secret = site.token(&[Role::Clinician]).await;
    let before = site.audited().await.len();
    let router = site.router();
    let send = |secret: Option<String>| {
        let request = request("GET", "/v1/models", secret.as_deref());
        let router = router.clone();
        async move {
            tower::ServiceExt::oneshot(router, request)
                .await
                .expect("infallible")
        }
    };
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(send(None).await.status().as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    assert_eq!(site.audited().await.len(), before + 3);
    let colleague = send(Some(secret)).await;
    assert_eq!(colleague.status(), 200, "a valid token is never held up");
    let refused = send(None).await;
    assert_eq!(refused.headers()[header::RETRY_AFTER], "60");
}

#[tokio::test]
async fn every_answer_wears_its_headers_and_refusals_speak_their_protocol() {
    let site = Site::new();
    let own = site.send(request("GET", "/api/v1/studies", None)).await;
    assert_eq!(own.header("content-type"), "application/problem+json");
    assert_eq!(own.json()["status"], 401);
    let openai = site.send(request("GET", "/v1/models", None)).await;
    assert_eq!(openai.json()["error"]["type"], "authentication_error");
    let health = site.send(request("GET", "/healthz", None)).await;
    for answer in [own, openai, health] {
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'")
        );
        assert_eq!(answer.header("access-control-allow-origin"), "");
        assert_eq!(answer.header("server"), "");
    }
    let document = site.get("/api/v1/openapi.json").await.json();
    assert_eq!(
        document["paths"].as_object().map(serde_json::Map::is_empty),
        Some(false)
    );
    assert_eq!(
        document["paths"]["/healthz"]["get"]["security"],
        Value::Array(Vec::new())
    );
}
