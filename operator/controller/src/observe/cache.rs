//! Cache of a watch: each object reduced to a value, indexed by the run that owns it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use scalequest_crds::v1alpha1::SynthesisRun;

use super::{run_of, version};

/// Reduces an object of kind `K` to what decisions need.
pub trait Reduce<K>: Sized {
    /// Returns the value, or `None` if the run with `uid` does not own the object.
    fn reduce(object: &K, uid: &str) -> Option<Self>;
}

/// Cache of one kind of objects.
#[derive(Debug)]
pub struct Cache<V> {
    inner: RwLock<Inner<V>>,
}

/// The values of a run by the uids of their objects, and the reference of the run.
#[derive(Debug)]
struct OfRun<V> {
    run: ObjectRef<SynthesisRun>,
    values: BTreeMap<String, Version<V>>,
}

/// A value with its resource version.
#[derive(Debug)]
struct Version<V> {
    version: u64,
    value: Arc<V>,
}

/// All values of a list, kept current by a watch.
#[derive(Debug)]
struct Snapshot<V> {
    runs: HashMap<String, OfRun<V>>,
    latest: u64,
}

#[derive(Debug)]
struct Inner<V> {
    snapshot: Snapshot<V>,
    /// The incomplete result of a list in progress.
    listed: Option<Snapshot<V>>,
    is_ready: bool,
}

impl<V> Default for Snapshot<V> {
    fn default() -> Self {
        Snapshot {
            runs: HashMap::new(),
            latest: 0,
        }
    }
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Cache {
            inner: RwLock::new(Inner {
                snapshot: Snapshot::default(),
                listed: None,
                is_ready: false,
            }),
        }
    }
}

impl<V> Snapshot<V> {
    /// Applies the change or deletion of an object. Returns the run that owns it.
    fn apply<K: ResourceExt>(
        &mut self,
        object: &K,
        is_there: bool,
    ) -> Option<ObjectRef<SynthesisRun>>
    where
        V: Reduce<K>,
    {
        let seen = version(object.resource_version().as_deref());
        self.latest = self.latest.max(seen);
        let (uid, run) = run_of(object)?;
        let id = object.uid()?;
        match V::reduce(object, &uid).filter(|_| is_there) {
            Some(value) => {
                let of_run = self.runs.entry(uid).or_insert_with(|| OfRun {
                    run: run.clone(),
                    values: BTreeMap::new(),
                });
                // A late event does not undo a newer one.
                let is_late = |known: &Version<V>| known.version > seen;
                if !of_run.values.get(&id).is_some_and(is_late) {
                    let (version, value) = (seen, Arc::new(value));
                    of_run.values.insert(id, Version { version, value });
                }
            }
            None => {
                if let Some(of_run) = self.runs.get_mut(&uid) {
                    of_run.values.remove(&id);
                    if of_run.values.is_empty() {
                        self.runs.remove(&uid);
                    }
                }
            }
        }
        Some(run)
    }
}

impl<V> Cache<V> {
    /// Applies an event of the watch. Returns the runs to requeue.
    pub fn apply<K: ResourceExt>(&self, event: &Event<K>) -> Vec<ObjectRef<SynthesisRun>>
    where
        V: Reduce<K>,
    {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                inner.listed = Some(Snapshot::default());
                Vec::new()
            }
            Event::InitApply(object) => {
                inner.listed.get_or_insert_default().apply(object, true);
                Vec::new()
            }
            Event::InitDone => {
                let listed = inner.listed.take().unwrap_or_default();
                let before = std::mem::replace(&mut inner.snapshot, listed);
                inner.snapshot.latest = inner.snapshot.latest.max(before.latest);
                inner.is_ready = true;
                let all = before.runs.values().chain(inner.snapshot.runs.values());
                all.map(|of_run| of_run.run.clone()).collect()
            }
            Event::Apply(object) => inner.snapshot.apply(object, true).into_iter().collect(),
            Event::Delete(object) => inner.snapshot.apply(object, false).into_iter().collect(),
        }
    }

    /// Returns the values of the run with `uid`.
    pub fn of_run(&self, uid: &str) -> Vec<Arc<V>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let of_run = inner.snapshot.runs.get(uid);
        of_run
            .map(|of_run| {
                let values = of_run.values.values();
                values.map(|known| known.value.clone()).collect()
            })
            .unwrap_or_default()
    }

    /// Drops values of the run with `uid` until they change, or until the next resync.
    pub fn drop_values(&self, uid: &str, is_unneeded: impl Fn(&V) -> bool) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_run) = inner.snapshot.runs.get_mut(uid) {
            of_run.values.retain(|_, known| !is_unneeded(&known.value));
        }
    }

    /// Returns the latest observed resource version.
    pub fn latest(&self) -> u64 {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.snapshot.latest
    }

    /// Whether the first list is complete.
    pub fn is_ready(&self) -> bool {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.is_ready
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let runs = inner.snapshot.runs.values();
        runs.map(|of_run| of_run.values.len()).sum()
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::names::run_labels;
    use crate::resources::Owner;

    struct Name(String);

    impl Reduce<ConfigMap> for Name {
        fn reduce(object: &ConfigMap, _uid: &str) -> Option<Self> {
            object.metadata.name.clone().map(Name)
        }
    }

    fn map(name: &str, run: &str, version: u64) -> ConfigMap {
        let owner = Owner {
            name: run.into(),
            namespace: "n".into(),
            uid: format!("uid-{run}"),
        };
        let mut metadata =
            owner.metadata(name.into(), run_labels(run, &owner.uid), Default::default());
        metadata.uid = Some(format!("uid-{name}"));
        metadata.resource_version = Some(version.to_string());
        ConfigMap {
            metadata,
            ..ConfigMap::default()
        }
    }

    fn names(cache: &Cache<Name>, run: &str) -> Vec<String> {
        let values = cache.of_run(&format!("uid-{run}"));
        values.iter().map(|name| name.0.clone()).collect()
    }

    #[test]
    fn values_are_indexed_by_run() {
        let cache: Cache<Name> = Cache::default();
        cache.apply::<ConfigMap>(&Event::Init);
        cache.apply(&Event::InitApply(map("a", "x", 3)));
        assert!(!cache.is_ready() && names(&cache, "x").is_empty());
        cache.apply::<ConfigMap>(&Event::InitDone);
        let run = cache.apply(&Event::Apply(map("b", "y", 7))).remove(0);
        assert_eq!(
            (run.name.as_str(), run.namespace.as_deref()),
            ("y", Some("n"))
        );
        assert_eq!(
            (names(&cache, "x"), names(&cache, "y")),
            (vec!["a".to_string()], vec!["b".to_string()])
        );
        assert_eq!((cache.latest(), cache.len()), (7, 2));
        cache.apply(&Event::Delete(map("b", "y", 9)));
        assert_eq!((names(&cache, "y").len(), cache.latest()), (0, 9));
    }

    #[test]
    fn dropped_values_return_on_change() {
        let cache: Cache<Name> = Cache::default();
        for (name, run) in [("aaa", "x"), ("bb", "x"), ("ccc", "y")] {
            cache.apply(&Event::Apply(map(name, run, 1)));
        }
        cache.drop_values("uid-x", |name| name.0.len() > 2);
        assert_eq!(
            (names(&cache, "x"), names(&cache, "y")),
            (vec!["bb".into()], vec!["ccc".into()])
        );
        cache.apply(&Event::Apply(map("aaa", "x", 2)));
        assert_eq!(names(&cache, "x").len(), 2);
    }

    #[test]
    fn late_events_are_ignored() {
        let cache: Cache<Name> = Cache::default();
        let named = |name: &str, version| {
            let mut named = map("a", "x", version);
            named.metadata.name = Some(name.into());
            named
        };
        cache.apply(&Event::Apply(named("new", 9)));
        cache.apply(&Event::Apply(named("old", 8)));
        assert_eq!(
            (names(&cache, "x"), cache.latest()),
            (vec!["new".into()], 9)
        );
        cache.apply(&Event::Apply(named("newest", 10)));
        assert_eq!(names(&cache, "x"), ["newest"]);
    }

    #[test]
    fn complete_list_replaces_cache() {
        let cache: Cache<Name> = Cache::default();
        cache.apply(&Event::Apply(map("old", "x", 1)));
        cache.apply::<ConfigMap>(&Event::Init);
        cache.apply(&Event::InitApply(map("new", "x", 5)));
        assert_eq!(
            (names(&cache, "x"), cache.latest()),
            (vec!["old".to_string()], 1)
        );
        let runs = cache.apply::<ConfigMap>(&Event::InitDone);
        assert!(!runs.is_empty(), "a list requeues runs");
        assert_eq!(names(&cache, "x"), ["new"]);
    }
}
