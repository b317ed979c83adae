//! Causes outside of a task and its rows for which an attempt fails: credentials, stores, disks, memory, endpoints, nodes. Each is transient:
//! finished work stays, and the stage continues once the cause is gone.

use serde::{Deserialize, Serialize};

/// What fails an attempt. Its name is the reason of the condition that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Credentials or permissions are missing, refused or expired.
    AccessDenied,
    /// A bucket, folder, file or model that the spec names is not there.
    LocationNotFound,
    /// A store or a file system does not answer, or answers with an error.
    StoreUnavailable,
    /// A disk, or its quota, is full.
    DiskFull,
    /// The endpoint of a model does not answer, or answers with errors.
    EndpointUnavailable,
    /// The worker was killed since it used more memory than it may.
    OutOfMemory,
    /// A container cannot be started: its image, a Secret or a volume.
    StartFailed,
    /// The kubelet refused the pod.
    PodRejected,
    /// Workers of several shards end with the same unknown exit code.
    WorkerCrashed,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 9] = [
        Cause::AccessDenied,
        Cause::LocationNotFound,
        Cause::StoreUnavailable,
        Cause::DiskFull,
        Cause::EndpointUnavailable,
        Cause::OutOfMemory,
        Cause::StartFailed,
        Cause::PodRejected,
        Cause::WorkerCrashed,
    ];

    /// Returns the reason of a condition.
    pub const fn reason(self) -> &'static str {
        match self {
            Cause::AccessDenied => "AccessDenied",
            Cause::LocationNotFound => "LocationNotFound",
            Cause::StoreUnavailable => "StoreUnavailable",
            Cause::DiskFull => "DiskFull",
            Cause::EndpointUnavailable => "EndpointUnavailable",
            Cause::OutOfMemory => "OutOfMemory",
            Cause::StartFailed => "StartFailed",
            Cause::PodRejected => "PodRejected",
            Cause::WorkerCrashed => "WorkerCrashed",
        }
    }

    /// Whether a pod without an accelerator can find out cheaply that the cause is gone.
    pub const fn is_probeable(self) -> bool {
        match self {
            Cause::AccessDenied
            | Cause::LocationNotFound
            | Cause::StoreUnavailable
            | Cause::DiskFull
            | Cause::EndpointUnavailable
            | Cause::StartFailed
            | Cause::PodRejected => true,
            Cause::OutOfMemory | Cause::WorkerCrashed => false,
        }
    }
}
