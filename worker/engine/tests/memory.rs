//! Memory, counted at the allocator: loading takes the packed weights and little else, a batch stays at what was foreseen
//! for it, and many prompts leave nothing behind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use scalequest_engine::inference::{
    BatchLimits, CounterRng, Engine, GenerateRequest, Generator, Sampling,
};
use scalequest_engine::model::Checkpoint;
use scalequest_engine::ops::Dtype;

/// The system's allocator, with what is taken from it.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Tests count one at a time.
static TURN: Mutex<()> = Mutex::new(());

// SAFETY: everything is passed on to the system's allocator as it comes.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that was allocated during `work` beyond what was there before.
fn peak<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = work();
    (done, (PEAK.load(Relaxed) - before) as f64)
}

fn small_model() -> Option<Checkpoint> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory =
        std::env::var_os("SCALEQUEST_MODELS").map_or(root.join("models"), PathBuf::from);
    let path = directory.join("smollm2-135m-instruct.q4_1.gguf");
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(Checkpoint::open(&path).expect("a readable model"))
}

fn request(id: u64, prompt: Vec<u32>, max_new_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        id,
        prompt,
        sampling: Sampling::new(1.0, 0.95),
        max_new_tokens,
        stop_tokens: Vec::new(),
        stop_strings: Vec::new(),
    }
}

#[test]
fn memory_use_matches_the_estimate() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(model) = small_model() else { return };
    let dtype = Dtype::Bf16;
    let (engine, loading) = peak(|| Engine::load(&model, dtype).expect("an engine"));
    let packed = model.config().packed_bytes(dtype) as f64;
    assert!(
        loading >= packed && loading < 1.02 * packed,
        "loading took {loading} bytes, the packed weights are {packed}"
    );

    let tokenizer = model.tokenizer().expect("a tokenizer");
    let (rows, prompt, new) = (16, 112, 16);
    let requests: Vec<GenerateRequest> = (0..rows as u64)
        .map(|row| {
            let tokens =
                (0..prompt as u64).map(|place| ((row * 7_919 + place * 31 + 5) % 40_000) as u32);
            request(row, tokens.collect(), new)
        })
        .collect();
    let options = BatchLimits {
        rows,
        ..BatchLimits::generating()
    };
    let generator = Generator::new(&engine, &tokenizer, CounterRng::new(1, "test"), options);
    let (_, generating) = peak(|| {
        generator
            .generate(&requests, &mut |_| ControlFlow::Continue(()))
            .expect("rows")
    });
    let foreseen = model.config().inference_bytes(dtype, rows, prompt + new) as f64;
    let taken = packed + generating;
    assert!(
        (taken / foreseen - 1.0).abs() <= 0.1,
        "foreseen {foreseen} bytes, taken {taken}, of them {packed} for weights"
    );
}

#[test]
fn ten_thousand_prompts_leak_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/fixtures/llama_untied");
    let model = Checkpoint::open(&path).expect("a model");
    let engine = Engine::load(&model, Dtype::Bf16).expect("an engine");
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let generator = Generator::new(
        &engine,
        &tokenizer,
        CounterRng::new(1, "test"),
        BatchLimits::generating(),
    );
    let live_after = |first: u64| {
        let requests: Vec<GenerateRequest> = (first..first + 2_500)
            .map(|id| {
                let length = 1 + id % 90;
                let prompt = (0..length).map(|place| ((id * 7 + place * 13) % 250) as u32);
                request(id, prompt.collect(), 2)
            })
            .collect();
        let rows = generator.generate(&requests, &mut |_| ControlFlow::Continue(()));
        assert_eq!(rows.expect("rows").len(), requests.len());
        drop(requests);
        LIVE.load(Relaxed)
    };
    let first = live_after(0);
    let later: Vec<usize> = [2_500, 5_000, 7_500].map(live_after).to_vec();
    // Queues of the thread pool double now and then (32 KiB were seen). The least that a prompt could leave behind is more than eight bytes.
    let most = later.iter().max().expect("some");
    assert!(
        *most < first + 8 * 7_500,
        "{first} bytes after 2,500 prompts, then {later:?}"
    );
}
