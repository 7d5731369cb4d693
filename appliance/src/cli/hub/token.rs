//! `pericard hub token`

use super::{HubFile, moment};
use crate::cli::{CommandError, output};
use clap::Subcommand;
use pericard_hub::{Token, Viewer};

/// The longest that a token may be good for.
const TOKEN_DAYS_MAX: u32 = 366;
const DAY_S: u64 = 86_400;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Issue a token; its secret is printed once and kept only as a hash
    Issue {
        #[command(flatten)]
        config: HubFile,
        /// Whom it is for
        #[arg(long)]
        label: String,
        /// What it allows: admin (sees all, issues recalls), analyst (sees all), or 'hospital N' (sees its own page)
        #[arg(long, value_parser = role)]
        role: Viewer,
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
        config: HubFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token at once
    Revoke {
        #[command(flatten)]
        config: HubFile,
        /// Its number, as `pericard hub token list` shows it
        number: u32,
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
        } => issue(&config, (label, role), days, json),
        TokenCommand::List { config, json } => list(&config, json),
        TokenCommand::Revoke { config, number } => {
            config.open()?.hub.revoke_token(number)?;
            output::line(format!("token {number} revoked"));
            Ok(())
        }
    }
}

fn issue(
    config: &HubFile,
    (label, viewer): (String, Viewer),
    days: u32,
    json: bool,
) -> Result<(), CommandError> {
    let hub = config.open()?.hub;
    let minted = pericard_api::mint().map_err(CommandError::failed)?;
    let created_at_s = hub.now_s();
    let mut token = Token {
        number: 0,
        label,
        sha256: minted.sha256,
        viewer,
        created_at_s,
        expires_at_s: created_at_s + u64::from(days) * DAY_S,
        revoked: false,
    };
    token.number = hub.create_token(&token)?;
    if json {
        return output::json(&serde_json::json!({"token": shown(&token), "secret": minted.secret}));
    }
    let until = moment(token.expires_at_s);
    let number = token.number;
    eprintln!("token {number} is good until {until}; its secret is shown this once:");
    output::line(minted.secret);
    Ok(())
}

fn list(config: &HubFile, json: bool) -> Result<(), CommandError> {
    let tokens = config.open()?.hub.tokens();
    if json {
        return output::json(&tokens.iter().map(shown).collect::<Vec<_>>());
    }
    let row = |token: &Token| {
        vec![
            token.number.to_string(),
            token.label.clone(),
            token.viewer.role(),
            moment(token.expires_at_s),
            if token.revoked { "revoked" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    output::table(&["NUMBER", "LABEL", "ROLE", "EXPIRES", ""], &rows);
    Ok(())
}

fn shown(token: &Token) -> serde_json::Value {
    serde_json::json!({
        "number": token.number, "label": token.label, "role": token.viewer.role(),
        "created_at_s": token.created_at_s, "expires_at_s": token.expires_at_s, "revoked": token.revoked,
    })
}

fn role(text: &str) -> Result<Viewer, String> {
    let why =
        "no such role; there are admin, analyst and 'hospital N', with the number of its appliance";
    Viewer::with_role(text).ok_or_else(|| why.to_owned())
}
