//! A peer that sends studies and takes results: what a PACS does, and no more.

use super::stage::{PACS_AE_TITLE, PACS_NAME};
use crate::cli::CommandError;
use crate::config::Config;
use bytes::Bytes;
use pericard_dicom::meta::file_meta;
use pericard_dimse::{
    Address, CallError, Caller, DimseConfig, Door, FileOutcome, OpenParcel, Peer, RequestLimits,
    SubmitProgress, Unlisted, listen, send_files,
};
use pericard_domain::actor::Actor;
use pericard_domain::ae::AeTitle;
use pericard_intake::{Arrival, Refused};
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The peer.
pub(crate) struct Pacs {
    /// Where results arrive; taken by [`Pacs::serve`].
    listener: Mutex<Option<TcpListener>>,
    /// Where received objects are kept.
    pub(crate) dir: PathBuf,
    ae_title: AeTitle,
    appliance: Peer,
}

impl Pacs {
    pub(crate) fn new(
        listener: TcpListener,
        dir: PathBuf,
        appliance: SocketAddr,
        config: &Config,
    ) -> Result<Self, CommandError> {
        fs::create_dir_all(&dir).map_err(CommandError::failed)?;
        let appliance = Peer::new(
            "the appliance",
            config.ae_title.clone(),
            Address::Ip(appliance.ip()),
            Some(appliance.port()),
        );
        let ae_title = AeTitle::new(PACS_AE_TITLE).map_err(CommandError::failed)?;
        Ok(Self {
            listener: Mutex::new(Some(listener)),
            dir,
            ae_title,
            appliance,
        })
    }

    /// Takes results until the stop.
    pub(crate) fn serve(&self, stop: CancellationToken) -> JoinHandle<()> {
        let listener = self
            .listener
            .lock()
            .ok()
            .and_then(|mut listener| listener.take());
        let mut config = DimseConfig::new(self.ae_title.clone());
        config.unlisted = Unlisted::FromLoopback;
        let shelf = Shelf {
            dir: self.dir.clone(),
        };
        tokio::spawn(async move {
            if let Some(listener) = listener {
                listen(listener, config, shelf, stop).await;
            }
        })
    }

    /// Sends a folder of DICOM files over one association.
    pub(crate) async fn send(
        &self,
        folder: &Path,
        progress: impl FnMut(SubmitProgress<'_>),
    ) -> Result<Vec<(PathBuf, FileOutcome)>, CallError> {
        let caller = Caller {
            ae_title: self.ae_title.clone(),
            limits: RequestLimits::default(),
            tls: None,
        };
        send_files(&caller, &self.appliance, &[folder.to_owned()], progress).await
    }

    /// What it is called in rules.
    pub(crate) const fn name() -> &'static str {
        PACS_NAME
    }
}

/// Where received objects are kept: one file each, by SOP Instance UID, which is digits and full stops.
#[derive(Clone)]
struct Shelf {
    dir: PathBuf,
}

struct OnShelf {
    file: Result<File, Refused>,
}

impl Door for Shelf {
    type Parcel = OnShelf;

    fn begin(&self, arrival: Arrival, _: Actor) -> Result<OnShelf, Refused> {
        let Arrival::DataSet {
            sop_class,
            instance,
            transfer_syntax,
        } = arrival
        else {
            return Err(Refused::Malformed("only data sets are taken".into()));
        };
        let path = self.dir.join(format!("{instance}.dcm"));
        let meta = file_meta(&sop_class, &instance, &transfer_syntax, None);
        let file = File::create(path)
            .and_then(|mut file| file.write_all(&meta).map(|()| file))
            .map_err(unavailable)?;
        Ok(OnShelf { file: Ok(file) })
    }

    async fn refuse(&self, _: &str, _: &str, _: Actor) {}
}

impl OpenParcel for OnShelf {
    fn write(&mut self, bytes: &Bytes) -> Result<(), Refused> {
        let file = self.file.as_mut().map_err(|refused| refused.clone())?;
        file.write_all(bytes).map_err(unavailable)
    }

    async fn admit(self) -> Result<(), Refused> {
        self.file?.sync_all().map_err(unavailable)
    }
}

fn unavailable(error: std::io::Error) -> Refused {
    Refused::Unavailable(error.to_string())
}
