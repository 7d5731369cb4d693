//! `pericard token`

use super::{CommandError, ConfigFile, block_on, output};
use clap::Subcommand;
use pericard_domain::actor::{Actor, Role};
use pericard_domain::time::Clock;
use pericard_store::access::NewToken;
use std::time::Duration;

/// The longest that a token may be good for.
const TOKEN_DAYS_MAX: u32 = 366;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Issue a token; its secret is printed once and kept only as a hash
    Issue {
        #[command(flatten)]
        config: ConfigFile,
        /// What it is for
        #[arg(long)]
        label: String,
        /// What it allows: clinician, modality, ml-admin, auditor, security-admin, monitor
        #[arg(long, required = true, value_delimiter = ',', value_parser = role)]
        role: Vec<Role>,
        /// For how many days it is good
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=i64::from(TOKEN_DAYS_MAX)))]
        days: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tokens, without their secrets
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token at once
    Revoke {
        #[command(flatten)]
        config: ConfigFile,
        /// Its id, as `pericard token list` shows it
        id: String,
    },
}

pub(crate) fn run(command: TokenCommand) -> Result<(), CommandError> {
    match command {
        TokenCommand::Issue {
            config,
            label,
            role,
            days,
            json,
        } => issue(&config, label, role, days, json),
        TokenCommand::List { config, json } => list(&config, json),
        TokenCommand::Revoke { config, id } => {
            let store = config.store()?;
            block_on(async { Ok(store.revoke_token(&id, Actor::CommandLine).await?) })
        }
    }
}

fn issue(
    config: &ConfigFile,
    label: String,
    roles: Vec<Role>,
    days: u32,
    json: bool,
) -> Result<(), CommandError> {
    let store = config.store()?;
    let minted = pericard_api::mint().map_err(CommandError::failed)?;
    let expires_at = crate::clock::SystemClock
        .now()
        .after(Duration::from_secs(u64::from(days) * 86_400));
    let token = NewToken {
        label,
        roles,
        secret_sha256: minted.sha256,
        expires_at: Some(expires_at),
    };
    let token = block_on(async { Ok(store.issue_token(token, Actor::CommandLine).await?) })?;
    if json {
        return output::json(&serde_json::json!({ "token": token, "secret": minted.secret }));
    }
    eprintln!(
        "token {} is good until {expires_at}; its secret is shown this once:",
        token.id
    );
    output::line(minted.secret);
    Ok(())
}

fn list(config: &ConfigFile, json: bool) -> Result<(), CommandError> {
    let store = config.store()?;
    let tokens = block_on(async { Ok(store.tokens().await?) })?;
    if json {
        return output::json(&tokens);
    }
    let row = |token: &pericard_store::access::Token| {
        let roles = token
            .roles
            .iter()
            .map(|r| r.name())
            .collect::<Vec<_>>()
            .join(",");
        let expires = token.expires_at.map_or("never".into(), |t| t.to_string());
        let revoked = token.revoked_at.map_or(String::new(), |t| t.to_string());
        vec![
            token.id.clone(),
            token.label.clone(),
            roles,
            expires,
            revoked,
        ]
    };
    output::table(
        &["ID", "LABEL", "ROLES", "EXPIRES", "REVOKED"],
        &tokens.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

fn role(name: &str) -> Result<Role, String> {
    let all = || Role::ALL.map(Role::name).join(", ");
    Role::named(name).ok_or_else(|| format!("no such role; there are {}", all()))
}
