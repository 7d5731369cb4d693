//! The closed list of what is counted.
//!
//! A new counter goes to the end, and [`crate::layout::VERSION`] goes up: a number's place is its meaning.

/// Declares the counters once, so that none can be without a name or a meaning.
macro_rules! counters {
    ($($(#[doc = $meaning:literal])+ $name:ident = $family:literal . $class:literal,)+) => {
        /// Something that is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Counter {
            $($(#[doc = $meaning])+ $name,)+
        }

        impl Counter {
            /// Every counter, in the order of its places in the frame.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// What is counted: counters of one family add up to something.
            #[must_use]
            pub const fn family(self) -> &'static str {
                match self { $(Self::$name => $family,)+ }
            }

            /// Which of its family this is.
            #[must_use]
            pub const fn class(self) -> &'static str {
                match self { $(Self::$name => $class,)+ }
            }

            /// What one more of it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),+).trim_ascii(),)+ }
            }
        }
    };
}

counters! {
    /// Objects kept that were new here.
    ObjectsAdmitted = "objects"."admitted",
    /// Objects offered again that were held already, byte for byte.
    ObjectsAlreadyHeld = "objects"."already_held",
    /// Objects kept as a new revision of one that was held with other bytes.
    ObjectsRevised = "objects"."revised",
    /// Objects refused because they are not valid DICOM.
    ObjectsMalformed = "objects"."refused_malformed",
    /// Objects refused because they are not what the peer announced.
    ObjectsMismatched = "objects"."refused_mismatch",
    /// Objects refused because they are larger than may be.
    ObjectsTooLarge = "objects"."refused_too_large",
    /// Objects refused because the disk is too full.
    ObjectsOutOfStorage = "objects"."refused_out_of_storage",
    /// Objects refused because too many arrived at once.
    ObjectsBusy = "objects"."refused_busy",
    /// Objects refused because nothing could be kept at the moment.
    ObjectsUnavailable = "objects"."refused_unavailable",
    /// DICOM associations accepted.
    AssociationsAccepted = "associations"."accepted",
    /// DICOM associations rejected.
    AssociationsRejected = "associations"."rejected",
    /// DICOM associations that ended otherwise than by a release.
    AssociationsAborted = "associations"."aborted",
    /// HTTP requests answered with a status of 200 to 399.
    HttpSucceeded = "http_requests"."2xx",
    /// HTTP requests answered with a status of 400 to 499.
    HttpRefused = "http_requests"."4xx",
    /// HTTP requests answered with a status of 500 or more.
    HttpFailed = "http_requests"."5xx",
    /// Requests without credentials, or with wrong ones.
    AuthUnknown = "auth_refusals"."unknown",
    /// Requests by somebody known who may not do this.
    AuthForbidden = "auth_refusals"."forbidden",
    /// Jobs whose results are kept.
    JobsDone = "jobs"."done",
    /// Jobs given up because the study does not hold what the model needs.
    JobsUnsuitableInput = "jobs"."failed_unsuitable_input",
    /// Jobs given up because the pixels cannot be decoded.
    JobsUndecodable = "jobs"."failed_undecodable",
    /// Jobs given up because the model is not there or does not verify.
    JobsModelUnavailable = "jobs"."failed_model_unavailable",
    /// Jobs given up because the model failed or broke its contract.
    JobsModelFailed = "jobs"."failed_model_failed",
    /// Jobs given up because their workers died, hung or took too much.
    JobsWorkerLost = "jobs"."failed_worker_lost",
    /// Jobs given up because the appliance itself is at fault.
    JobsInternal = "jobs"."failed_internal",
    /// Jobs cancelled by a person.
    JobsCancelled = "jobs"."cancelled",
    /// Attempts at jobs that ended without a result and were followed by another.
    JobsRetried = "jobs"."retried",
    /// Results delivered.
    DeliveriesDone = "deliveries"."done",
    /// Attempts to deliver that failed and are made again.
    DeliveriesTransient = "deliveries"."transient",
    /// Results that a peer will never take.
    DeliveriesPermanent = "deliveries"."permanent",
    /// Chats answered to their end.
    ChatsAnswered = "chats"."answered",
    /// Chats refused: unknown model, too long, or not understood.
    ChatsRefused = "chats"."refused",
    /// Chats refused because too many were at work.
    ChatsBusy = "chats"."refused_busy",
    /// Chats that failed on the way.
    ChatsFailed = "chats"."failed",
    /// Chats whose client went away.
    ChatsDropped = "chats"."dropped",
    /// Tokens of prompts.
    TokensPrompt = "tokens"."prompt",
    /// Tokens generated.
    TokensGenerated = "tokens"."generated",
}

impl Counter {
    /// Its place among the counters.
    #[must_use]
    pub const fn place(self) -> usize {
        self as usize
    }
}
