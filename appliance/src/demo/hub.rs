//! The national side of the demonstration: a hub, and a handful of hospitals that are simulated. What they count is invented;
//! all else is what hospitals run: books with noise and budget, a gate with its keys, one pinned line to the hub.

use super::stage::{Stage, bind};
use crate::cli::CommandError;
use crate::config::Config;
use crate::hub::config::{HubConfig, HubSection, Written};
use crate::hub::{self as national, now_s};
use pericard_egress::{
    Books, CatalogueId, Closing, Identity, Log, Meter, Outcome, Pseudonym, Review, Rules, Seed,
    Week,
};
use pericard_gate::{Desk, Gate, Slot, Spool};
use pericard_hub::{Hub, Keys, Token, Viewer, enrolment};
use pericard_registry::Registry;
use serde::Serialize;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The simulated hospitals. The last one falls silent.
const HOSPITALS: [&str; 6] = ["North", "East", "South", "West", "Harbour", "Hill"];
/// How many weeks they tell of.
const WEEKS: u16 = 14;
/// Since which of these the last model's scores lie elsewhere.
const DRIFTS_FROM: u16 = 9;
/// Since which of these the last hospital sends nothing.
const SILENT_FROM: u16 = 7;
const WEEK_S: u64 = 7 * 86_400;
const FIRST_MONDAY_S: u64 = 4 * 86_400;
const TOKEN_DAYS: u64 = 90;

/// The hub of the demonstration.
pub(super) struct HubStage {
    at: SocketAddr,
    /// The secret of an admin's token.
    token: String,
    dir: PathBuf,
    config: PathBuf,
    door: TcpListener,
    hub: Arc<Hub>,
    keys: Keys,
    models: Vec<CatalogueId>,
    nation: Vec<Simulated>,
}

/// Where people and scripts find it: what `demo.json` says of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Shown {
    /// Its door.
    pub(super) hub: String,
    /// The secret of an admin's token.
    pub(super) hub_token: String,
    /// The certificate that browsers are to trust.
    pub(super) hub_ca: PathBuf,
    hub_config: PathBuf,
    hub_data: PathBuf,
}

impl Shown {
    pub(super) fn of(stage: &HubStage) -> Self {
        Self {
            hub: stage.at.to_string(),
            hub_token: stage.token.clone(),
            hub_ca: stage.dir.join(pericard_hub::keys::AUTHORITY),
            hub_config: stage.config.clone(),
            hub_data: stage.dir.clone(),
        }
    }
}

/// A hospital that is not there.
struct Simulated {
    at: usize,
    dir: PathBuf,
    number: u32,
}

impl HubStage {
    /// Makes the hub, with the live models as its catalogue, and enrols everybody: the simulated hospitals and the appliance.
    pub(super) async fn set(stage: &mut Stage) -> Result<Self, CommandError> {
        let dir = stage.dir.join("hub");
        let mut written = Written {
            hub: HubSection {
                data_dir: dir.clone(),
                log_level: "warn".into(),
                ..HubSection::default()
            },
            ..Written::default()
        };
        let door = bind(written.https.listen).await?;
        let at = door.local_addr().map_err(CommandError::failed)?;
        written.https.listen = at;
        let text = toml::to_string(&written).map_err(CommandError::failed)?;
        let meant = HubConfig::meant(written);
        let meant = meant.map_err(|mistakes| CommandError::Failed(mistakes.join("\n")))?;
        let (hub, keys) = national::open(&meant)?;
        let config = stage.dir.join("hub.toml");
        fs::write(&config, text).map_err(CommandError::failed)?;
        let mut staged = Self {
            at,
            token: token(&hub)?,
            dir,
            config,
            door,
            models: catalogue(&hub, stage)?,
            hub: Arc::new(hub),
            keys,
            nation: Vec::new(),
        };
        staged.enrol_all(stage)?;
        Ok(staged)
    }

    fn enrol_all(&mut self, stage: &mut Stage) -> Result<(), CommandError> {
        for (at, name) in HOSPITALS.iter().enumerate() {
            let dir = stage.dir.join("nation").join(name.to_lowercase());
            let number = self.enrol(&dir.join("gate"), &format!("{name} (simulated)"))?;
            self.nation.push(Simulated { at, dir, number });
        }
        let gate_dir = stage.dir.join("gate");
        self.enrol(&gate_dir, "This appliance")?;
        let catalogue = stage.dir.join("catalogue");
        let note = self.hub.catalogue().map_err(CommandError::failed)?;
        fs::write(&catalogue, note).map_err(CommandError::failed)?;
        let mut written = stage.config.written.clone();
        written.egress.weekly = true;
        written.egress.gate_dir = gate_dir;
        written.egress.catalogue = Some(catalogue);
        written.egress.catalogue_key = Some(self.keys.signing().verifier().to_string());
        stage.write(&written)?;
        let meant = Config::meant(written);
        stage.config = meant.map_err(|mistakes| CommandError::Failed(mistakes.join("\n")))?;
        Ok(())
    }

    /// What officers do by hand on both sides, once for each hospital.
    fn enrol(&self, desk: &Path, name: &str) -> Result<u32, CommandError> {
        fs::create_dir_all(desk).map_err(CommandError::failed)?;
        let desk = Desk::at(desk.to_owned());
        let request = pericard_gate::request(&desk, &random()?).map_err(CommandError::failed)?;
        let granted = enrolment::enrol((&self.hub, &self.keys), &request, name, self.at);
        let granted = granted.map_err(CommandError::failed)?;
        let key = self.keys.signing().verifier().to_string();
        pericard_gate::accept(&desk, &granted.note, &key).map_err(CommandError::failed)?;
        Ok(granted.number)
    }

    /// Serves until the stop, and lets the simulated hospitals tell of their weeks; gives a task that ends when they have.
    pub(super) fn open(self, stop: CancellationToken) -> (Served, tokio::task::JoinHandle<Told>) {
        let Self {
            at,
            hub,
            keys,
            door,
            models,
            nation,
            ..
        } = self;
        let served = tokio::spawn(national::serve(door, (hub, keys, at), stop));
        let told = tokio::spawn(async move {
            let mut hospitals = JoinSet::new();
            for hospital in nation {
                let models = models.clone();
                hospitals.spawn_blocking(move || hospital.tell(&models));
            }
            let mut frames = 0;
            while let Some(told) = hospitals.join_next().await {
                frames += told.map_err(CommandError::failed)??;
            }
            Ok(frames)
        });
        (served, told)
    }
}

/// The hub's own task.
pub(super) type Served = tokio::task::JoinHandle<Result<(), national::HubError>>;
/// How many frames the simulated hospitals sent.
pub(super) type Told = Result<u32, CommandError>;

fn token(hub: &Hub) -> Result<String, CommandError> {
    let minted = pericard_api::mint().map_err(CommandError::failed)?;
    let token = Token {
        number: 0,
        label: "demonstration".into(),
        sha256: minted.sha256,
        viewer: Viewer::Admin,
        created_at_s: hub.now_s(),
        expires_at_s: hub.now_s() + TOKEN_DAYS * 86_400,
        revoked: false,
    };
    hub.create_token(&token)?;
    Ok(minted.secret)
}

/// The live models of the appliance, numbered.
fn catalogue(hub: &Hub, stage: &Stage) -> Result<Vec<CatalogueId>, CommandError> {
    let registry = stage.config.written.appliance.data_dir.join("registry");
    let live = Registry::open(&registry)?.live()?;
    let known = hub.records().snapshot();
    let mut ids = Vec::new();
    for (id, package) in (1..).zip(live) {
        let mut digest = [0; 32];
        let text = package.model.digest.to_string();
        hex::decode_to_slice(text, &mut digest).map_err(CommandError::failed)?;
        let model = pericard_hub::records::Model {
            id,
            name: package.model.name,
            version: package.model.version,
            digest,
        };
        if !known.models.contains(&model) {
            hub.add_model(&model)?; // a demonstration in the same folder as an earlier one has it already
        }
        ids.push(CatalogueId(id));
    }
    Ok(ids)
}

impl Simulated {
    /// Lives through its weeks and sends each frame, as its gate would.
    fn tell(self, models: &[CatalogueId]) -> Told {
        let spool = self.dir.join("spool");
        fs::create_dir_all(&spool).map_err(CommandError::failed)?;
        let identity = Identity {
            appliance: self.number,
            release: [0, 1, 0],
        };
        let meter =
            Meter::open(self.dir.join("counters"), identity).map_err(CommandError::failed)?;
        let mut books =
            Books::open(spool.clone(), Rules::default()).map_err(CommandError::failed)?;
        let now_s = now_s();
        let this_week = (now_s.saturating_sub(FIRST_MONDAY_S) / WEEK_S) as u16;
        let mut chance = Chance(self.at as u64 + 1);
        let silent = self.at + 1 == HOSPITALS.len();
        for week in 0..if silent { SILENT_FROM } else { WEEKS } {
            let told = this_week - WEEKS + week;
            if books.last_week().is_some_and(|last| last >= told) {
                continue; // an earlier demonstration in this folder told of it
            }
            let closing = Closing {
                week: told,
                inferences: inferences(models, &meter, &mut chance, week),
                log: Log {
                    root: EMPTY_LOG,
                    ..Log::default()
                },
                evaluations: Vec::new(),
                seed: Seed(random()?),
            };
            books.close(closing, &meter).map_err(CommandError::failed)?;
        }
        let rules = pericard_gate::Rules { hold_days: 0 };
        let (spool, desk) = (Spool::at(spool), Desk::at(self.dir.join("gate")));
        let gate = Gate::open(spool, desk, rules).map_err(CommandError::failed)?;
        let Some(gate) = gate else { return Ok(0) };
        let mut frames = 0;
        while let Slot::Sent { status, .. } = gate.slot(now_s).map_err(CommandError::failed)? {
            if status == pericard_gate::Status::Refused {
                let why = "the hub refused a simulated hospital's frame";
                return Err(CommandError::Failed(why.into()));
            }
            frames += 1;
        }
        Ok(frames)
    }
}

/// The root of a log without lines (SHA-256 of nothing), as four numbers: a simulated hospital has done nothing to log.
const EMPTY_LOG: [u64; 4] = [
    0xe3b0_c442_98fc_1c14,
    0x9afb_f4c8_996f_b924,
    0x27ae_41e4_649b_934c,
    0xa495_991b_7852_b855,
];

/// Invented patients of one week.
fn inferences(models: &[CatalogueId], meter: &Meter, chance: &mut Chance, week: u16) -> Week {
    let mut told = Week::of(models);
    for (at, id) in (0_u64..).zip(models) {
        let drifts = at + 1 == models.len() as u64 && week >= DRIFTS_FROM;
        let patients = 300 + (chance.unit() * 250.0) as u64;
        for patient in 0..patients {
            // Few high scores, and more of them where the model drifts.
            let steepness = if drifts { 1.1 } else { 2.2 };
            let tenth = (chance.unit().powf(steepness) * 10.0) as u8;
            let review = match (chance.unit(), chance.unit()) {
                (0.4.., _) => Review::None,
                (_, 0.92..) => Review::Disagreed,
                (_, 0.75..) if drifts => Review::Disagreed,
                _ => Review::Agreed,
            };
            told.count(Pseudonym(at << 32 | patient), *id, tenth, review);
            let took = Duration::from_millis(150 + (chance.unit() * 800.0) as u64);
            meter.inference(*id, Outcome::Done, took);
        }
        for _ in 0..(chance.unit() * 9.0) as u64 {
            meter.inference(*id, Outcome::Failed, Duration::from_millis(40));
        }
    }
    meter.ran(WEEK_S, 3, 10);
    told
}

/// Chance that is the same in every demonstration (Vigna's splitmix64): it draws invented patients, never noise.
struct Chance(u64);

impl Chance {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn random() -> Result<[u8; 32], CommandError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(CommandError::failed)?;
    Ok(bytes)
}
