//! Cache of a watch: each object reduced to a value, indexed by the run that owns it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::{run_of, version};
use crate::watched_run::WatchedRun;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;

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

#[derive(Debug)]
struct Inner<V> {
    runs: Runs<V>,
    /// The latest observed resource version.
    latest: u64,
    /// The incomplete result of a list in progress, and its latest resource version.
    listed: (Runs<V>, u64),
    is_ready: bool,
}

/// The objects of each run, by its uid.
type Runs<V> = HashMap<String, OfRun<V>>;

/// The values of a run by the uids of their objects, each with its resource version, and the reference of the run.
#[derive(Debug)]
struct OfRun<V> {
    run: ObjectRef<WatchedRun>,
    values: BTreeMap<String, (u64, Arc<V>)>,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Cache {
            inner: RwLock::new(Inner {
                runs: Runs::new(),
                latest: 0,
                listed: Default::default(),
                is_ready: false,
            }),
        }
    }
}

/// Applies the change or deletion of an object to `runs`. Returns the run that owns it.
fn change<K: ResourceExt, V: Reduce<K>>(
    (runs, latest): (&mut Runs<V>, &mut u64),
    object: &K,
    is_there: bool,
) -> Option<ObjectRef<WatchedRun>> {
    let seen = version(object.resource_version().as_deref());
    *latest = seen.max(*latest);
    let (uid, run) = run_of(object)?;
    let id = object.uid()?;
    if let Some(value) = V::reduce(object, &uid).filter(|_| is_there) {
        let of_run = runs.entry(uid).or_insert_with(|| OfRun {
            run: run.clone(),
            values: BTreeMap::new(),
        });
        // A late event does not undo a newer one.
        if of_run
            .values
            .get(&id)
            .is_none_or(|(known, _)| *known <= seen)
        {
            of_run.values.insert(id, (seen, Arc::new(value)));
        }
    } else if let Some(of_run) = runs.get_mut(&uid) {
        of_run.values.remove(&id);
        if of_run.values.is_empty() {
            runs.remove(&uid);
        }
    }
    Some(run)
}

impl<V> Cache<V> {
    /// Applies an event of the watch. Returns the runs to requeue.
    pub fn apply<K: ResourceExt>(&self, event: &Event<K>) -> Vec<ObjectRef<WatchedRun>>
    where
        V: Reduce<K>,
    {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Inner {
            runs,
            latest,
            listed,
            is_ready,
        } = &mut *inner;
        match event {
            Event::Init => *listed = Default::default(),
            Event::InitApply(object) => {
                change((&mut listed.0, &mut listed.1), object, true);
            }
            Event::InitDone => {
                let (now, seen) = std::mem::take(listed);
                let before = std::mem::replace(runs, now);
                *latest = seen.max(*latest);
                *is_ready = true;
                let all = before.values().chain(runs.values());
                return all.map(|of_run| of_run.run.clone()).collect();
            }
            Event::Apply(object) => return Vec::from_iter(change((runs, latest), object, true)),
            Event::Delete(object) => return Vec::from_iter(change((runs, latest), object, false)),
        }
        Vec::new()
    }

    /// Returns the values of the run with `uid`.
    pub fn of_run(&self, uid: &str) -> Vec<Arc<V>> {
        let inner = self.read();
        let values = inner
            .runs
            .get(uid)
            .into_iter()
            .flat_map(|of_run| of_run.values.values());
        values.map(|(_, value)| value.clone()).collect()
    }

    /// Drops values of the run with `uid` until they change, or until the next resync.
    pub fn drop_values(&self, uid: &str, is_unneeded: impl Fn(&V) -> bool) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_run) = inner.runs.get_mut(uid) {
            of_run.values.retain(|_, (_, value)| !is_unneeded(value));
        }
    }

    /// Returns the latest observed resource version.
    pub fn latest(&self) -> u64 {
        self.read().latest
    }

    /// Whether the first list is complete.
    pub fn is_ready(&self) -> bool {
        self.read().is_ready
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner<V>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(cache.latest(), 7);
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
