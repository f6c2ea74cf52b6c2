// Search: attention of the newest word of each hypothesis, and the best tokens of each row of scores.
//
// What hypotheses have read lies in a pool, an entry for each word that a row read, and nothing in it
// moves. A row's path says which entries are its own, in order.
#include "common.cuh"

// Where the keys and values of a row lie: entries of `key` and `value`, `stride` numbers apart.
// Either those of its path, or those that follow one another from its start.
struct Seen {
    const uint32_t* path; // [rows, capacity], or null
    uint32_t capacity;
    uint32_t first;  // of the path: what is before is not seen
    uint32_t length; // of the path
    const uint32_t* starts; // [rows]
    const uint32_t* lengths; // [rows]
};

__device__ inline uint32_t length_of(const Seen& seen, uint32_t row) {
    return seen.path ? seen.length - seen.first : seen.lengths[row];
}

__device__ inline uint64_t entry_of(const Seen& seen, uint32_t row, uint32_t i) {
    return seen.path ? seen.path[(uint64_t)row * seen.capacity + seen.first + i]
                     : seen.starts[row] + (uint64_t)i;
}

// out = softmax(q Kᵀ / √head_dim) V, [rows, heads · head_dim], and the logarithms of the sums of the
// exponentials of scores, [rows, heads]. A warp takes a head of a row; warps of a block take
// neighbouring rows, which often see the same.
template <int PARTS, class T>
__device__ void attend_step(const Attention<T>& a, const Seen& seen, T* out, float* log_sums,
                            uint32_t rows) {
    uint32_t lane = threadIdx.x % WARP, head = blockIdx.y, dim = a.head_dim;
    uint32_t row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    float scale = 1.0f / sqrtf((float)dim), own[PARTS], sums[PARTS], most = -INFINITY, total = 0.0f;
#pragma unroll
    for (int part = 0; part < PARTS; part++) sums[part] = 0.0f;
    read_row<PARTS>(own, a.query + (uint64_t)row * a.query_stride + head * dim, dim, lane);
    uint32_t n = length_of(seen, row);
    for (uint32_t start = 0; start < n; start += WARP) {
        uint32_t many = min((uint32_t)WARP, n - start);
        uint64_t at = lane < many ? entry_of(seen, row, start + lane) * a.key_stride + head * dim : 0;
        float score = 0.0f;
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            for (uint32_t k = 0; k < WARP && part * WARP + k < dim; k++) {
                float factor = __shfl_sync(ALL_LANES, own[part], k);
                if (lane < many) score += factor * up(a.key[at + part * WARP + k]);
            }
        }
        score = lane < many ? score * scale : -INFINITY;
        float now = fmaxf(most, warp_max(score));
        float weight = lane < many ? expf(score - now) : 0.0f;
        float shrink = expf(most - now);
        total = total * shrink + warp_sum(weight);
        most = now;
#pragma unroll
        for (int part = 0; part < PARTS; part++) sums[part] *= shrink;
        for (uint32_t k = 0; k < many; k++) {
            float factor = __shfl_sync(ALL_LANES, weight, k);
            uint64_t from = __shfl_sync(ALL_LANES, at, k);
#pragma unroll
            for (int part = 0; part < PARTS; part++) {
                uint32_t column = part * WARP + lane;
                if (column < dim) sums[part] += factor * up(a.value[from + column]);
            }
        }
    }
    float factor = total > 0.0f ? 1.0f / total : 0.0f;
#pragma unroll
    for (int part = 0; part < PARTS; part++) sums[part] *= factor;
    write_row<PARTS>(out + ((uint64_t)row * a.heads + head) * dim, sums, dim, lane);
    if (lane == 0) log_sums[row * a.heads + head] = most + logf(total);
}

// The weights of what `attend_step` did over entries that follow one another, where its results are
// read from: out[row, i] = scale Σ over heads of the weight of entry i, or, for `each`, the weights
// themselves, out[row, head, i]. Rows are `longest` wide; what a row does not have is zero.
template <class T>
__device__ void step_weights(const Attention<T>& a, const Seen& seen, const float* log_sums, float* out,
                             uint64_t n, uint32_t longest, uint32_t first_head, uint32_t n_heads,
                             float scale, uint32_t each) {
    float root = 1.0f / sqrtf((float)a.head_dim);
    EACH_ELEMENT(at, n) {
        uint32_t row = (uint32_t)(at / longest), i = (uint32_t)(at % longest);
        bool inside = i < length_of(seen, row);
        float sum = 0.0f;
        for (uint32_t head = first_head; head < first_head + n_heads; head++) {
            float weight = 0.0f;
            if (inside) {
                const T* query = a.query + (uint64_t)row * a.query_stride + head * a.head_dim;
                const T* key = a.key + entry_of(seen, row, i) * a.key_stride + head * a.head_dim;
                float score = 0.0f;
                for (uint32_t c = 0; c < a.head_dim; c++) score += up(query[c]) * up(key[c]);
                weight = expf(score * root - log_sums[row * a.heads + head]);
            }
            if (each) out[((uint64_t)row * n_heads + head - first_head) * longest + i] = weight;
            sum += weight;
        }
        if (!each) out[at] = scale * sum;
    }
}

#define STEP(T, NAME, PARTS)                                                                      \
    extern "C" __global__ void attend_step_##NAME##_##PARTS(Attention<T> a, Seen seen, T* out,    \
                                                            float* log_sums, uint32_t rows) {     \
        attend_step<PARTS>(a, seen, out, log_sums, rows);                                         \
    }
#define STEPS(T, NAME)                                                                            \
    STEP(T, NAME, 1)                                                                              \
    STEP(T, NAME, 2)                                                                              \
    STEP(T, NAME, 4)                                                                              \
    STEP(T, NAME, 8)                                                                              \
    extern "C" __global__ void step_weights_##NAME(                                               \
        Attention<T> a, Seen seen, const float* log_sums, float* out, uint64_t n,                 \
        uint32_t longest,                                                                         \
        uint32_t first_head, uint32_t n_heads, float scale, uint32_t each) {                      \
        step_weights(a, seen, log_sums, out, n, longest, first_head, n_heads, scale, each);       \
    }                                                                                             \
    /* Keys and values of the newest words, which stand behind the queries, into the pool. */     \
    extern "C" __global__ void append_##NAME(const T* x, T* pool, uint64_t n, uint32_t dim) {     \
        EACH_ELEMENT(i, n) pool[i] = x[i / (2 * dim) * 3 * dim + dim + i % (2 * dim)];            \
    }
STEPS(float, f32)
STEPS(bf16, bf16)

// Paths of rows that go on where their parents were, and of what they read now: entry + row.
extern "C" __global__ void extend_paths(const uint32_t* old, const uint32_t* parents,
                                        uint32_t* paths, uint64_t n, uint32_t length,
                                        uint32_t old_capacity, uint32_t capacity, uint32_t entry) {
    EACH_ELEMENT(i, n) {
        uint32_t row = (uint32_t)(i / (length + 1)), t = (uint32_t)(i % (length + 1));
        uint32_t parent = parents ? parents[row] : row;
        paths[(uint64_t)row * capacity + t] =
            t == length ? entry + row : old[(uint64_t)parent * old_capacity + t];
    }
}

// Scores that are looked at together: `kernels::logits::CHUNK`.
constexpr uint32_t CHUNK = 64;

// A score and its place, the better of two: larger, then further left.
struct Place {
    float score;
    uint32_t at;
};
__device__ inline Place better(Place a, Place b) {
    return b.score > a.score || (b.score == a.score && b.at < a.at) ? b : a;
}
__device__ inline Place warp_best(Place own) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        Place other;
        other.score = __shfl_xor_sync(ALL_LANES, own.score, distance);
        other.at = __shfl_xor_sync(ALL_LANES, own.at, distance);
        own = better(own, other);
    }
    return own;
}

// The best of two neighbours in each lane of a chunk, those of lane l at l and l + 32.
__device__ inline Place chunk_best(const float* scores, uint32_t chunk, uint32_t vocab) {
    uint32_t lane = threadIdx.x % WARP;
    Place own = {-INFINITY, chunk * CHUNK + lane};
    for (uint32_t at = chunk * CHUNK + lane; at < min((chunk + 1) * CHUNK, vocab); at += WARP)
        own = better(own, {scores[at], at});
    return warp_best(own);
}

// What a search that looks at the best tokens alone wants to know of a row of scores: 2 keep + 2 numbers,
// the tokens of the `keep` largest scores, best first and of equals the lowest first, these scores, what
// makes log-probabilities of scores, and the score of `end`. A block takes a row. Of scores that were
// reported −∞ is left.
extern "C" __global__ void best_scores(float* scores, float* report, uint32_t vocab, uint32_t keep,
                                       uint32_t end) {
    DYNAMIC_SHARED(peaks); // [chunks]
    __shared__ float scratch[WARP];
    __shared__ uint32_t places[WARP];
    uint32_t chunks = (vocab + CHUNK - 1) / CHUNK;
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    scores += (uint64_t)blockIdx.x * vocab;
    report += (uint64_t)blockIdx.x * (2 * keep + 2);
    for (uint32_t chunk = warp; chunk < chunks; chunk += warps) {
        Place best = chunk_best(scores, chunk, vocab);
        if (lane == 0) peaks[chunk] = best.score;
    }
    __syncthreads();
    float most = -INFINITY, sum = 0.0f;
    for (uint32_t chunk = threadIdx.x; chunk < chunks; chunk += blockDim.x)
        most = fmaxf(most, peaks[chunk]);
    most = block_max(most, scratch);
    float base = most > -INFINITY ? most : 0.0f; // nothing is possible: exp(−∞) of nothing
    for (uint32_t i = threadIdx.x; i < vocab; i += blockDim.x) sum += expf(scores[i] - base);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) {
        report[2 * keep] = -(base + logf(sum));
        report[2 * keep + 1] = end < vocab ? scores[end] : -INFINITY;
    }
    __syncthreads();
    for (uint32_t k = 0; k < keep; k++) {
        // The chunk with the best score …
        Place best = {-INFINITY, chunks};
        for (uint32_t chunk = threadIdx.x; chunk < chunks; chunk += blockDim.x)
            best = better(best, {peaks[chunk], chunk});
        best = warp_best(best);
        if (lane == 0) {
            scratch[warp] = best.score;
            places[warp] = best.at;
        }
        __syncthreads();
        // … and its place there.
        if (warp == 0) {
            best = {lane < warps ? scratch[lane] : -INFINITY, lane < warps ? places[lane] : chunks};
            uint32_t chunk = min(warp_best(best).at, chunks - 1);
            best = chunk_best(scores, chunk, vocab);
            if (lane == 0) {
                report[k] = (float)best.at;
                report[keep + k] = best.score;
                scores[best.at] = -INFINITY;
            }
            __syncwarp();
            best = chunk_best(scores, chunk, vocab);
            if (lane == 0) peaks[chunk] = best.score;
        }
        __syncthreads();
    }
}
