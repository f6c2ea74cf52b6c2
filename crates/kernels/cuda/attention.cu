// Scaled dot-product attention in heads over packed rows, forward and backward, a tile at a time:
// no matrix of weights exists (Dao et al., 2022, “FlashAttention”). `attn::multi_head` has the
// definition.
//
// A block takes a tile of a sentence's rows in one head, a warp one row of it. A lane takes one of 32
// rows of the other side, which lie in shared memory, to form scores, and every 32nd column of the
// head to form sums of rows. Sums over the other side run from its first row to its last, so that
// they do not depend on other sentences.
#include "common.cuh"

// Rows of a tile: a warp for each.
constexpr uint32_t ROWS = 16;

// A tile of rows: sentence and first row in it.
struct Tile {
    uint32_t sentence;
    uint32_t first;
};

// Where queries, keys and values lie: row r of a head at `data + r * stride + head * head_dim`.
template <class T> struct Attention {
    const T* query;
    const T* key;
    const T* value;
    uint32_t query_stride;
    uint32_t key_stride;
    uint32_t heads;
    uint32_t head_dim;
};

// The sides of a sentence: where its rows begin, and where its numbers of the mask.
struct Sides {
    const uint32_t* query_offsets;
    const uint32_t* key_offsets;
    const uint64_t* mask_starts;
};

// What a query sees: keys up to its own position if `back`, and those at most `window` away.
struct Sight {
    uint32_t back;
    uint32_t window;
};

__device__ inline bool sees(const Sight& sight, uint32_t query, uint32_t key) {
    if (sight.back && key > query) return false;
    return key + (uint64_t)sight.window >= query && query + (uint64_t)sight.window >= key;
}

// The number of weight (query, key) of a head in the dropout mask.
__device__ inline uint64_t mask_place(uint64_t start, uint32_t head, uint32_t queries,
                                      uint32_t keys, uint32_t query, uint32_t key) {
    uint64_t width = (keys + 15) / 16 * 16;
    uint64_t of_head = (queries * width + 63) / 64 * 64;
    return start + head * of_head + query * width + key;
}

// Copies 32 rows of a head into shared memory, [32, dim + 1]; rows past the end become zero.
template <class T>
__device__ inline void load(const T* rows, uint32_t stride, uint32_t first, uint32_t end,
                            uint32_t dim, float* tile) {
    for (uint32_t i = threadIdx.x; i < WARP * dim; i += ROWS * WARP) {
        uint32_t row = i / dim, column = i % dim;
        tile[row * (dim + 1) + column] =
            first + row < end ? up(rows[(uint64_t)(first + row) * stride + column]) : 0.0f;
    }
}

// The product of a row in registers (column lane + 32 j in own[j]) with row `lane` of a tile.
template <int PARTS>
__device__ inline float products(const float* own, const float* tile, uint32_t dim,
                                 uint32_t lane) {
    float sum = 0.0f;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
#pragma unroll 4
        for (uint32_t k = 0; k < WARP; k++) {
            uint32_t column = part * WARP + k;
            float factor = __shfl_sync(ALL_LANES, own[part], k);
            if (column < dim) sum += factor * tile[lane * (dim + 1) + column];
        }
    }
    return sum;
}

// sums += Σ over the lanes of factor · row `lane` of a tile
template <int PARTS>
__device__ inline void add_rows(float* sums, float factor, const float* tile, uint32_t dim,
                                uint32_t lane, uint32_t rows) {
#pragma unroll 1
    for (uint32_t k = 0; k < rows; k++) {
        float weight = __shfl_sync(ALL_LANES, factor, k);
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            uint32_t column = part * WARP + lane;
            if (column < dim) sums[part] += weight * tile[k * (dim + 1) + column];
        }
    }
}

template <int PARTS, class T>
__device__ inline void read_row(float* own, const T* row, uint32_t dim, uint32_t lane) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        uint32_t column = part * WARP + lane;
        own[part] = column < dim ? up(row[column]) : 0.0f;
    }
}

template <int PARTS, class T>
__device__ inline void write_row(T* row, const float* own, uint32_t dim, uint32_t lane) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        uint32_t column = part * WARP + lane;
        if (column < dim) row[column] = down<T>(own[part]);
    }
}

// out = softmax(Q Kᵀ / √head_dim) V, [rows, heads · head_dim]; log_sums[row, head], the logarithm
// of the sum of the exponentials of a row's scores, is what the way back needs.
template <int PARTS, class T>
__device__ void attend(const Attention<T>& a, const Sides& sides, const Tile* tiles, T* out,
                       float* log_sums, const Sight& sight, const Dropout& mask, float* shared) {
    Tile tile = tiles[blockIdx.x];
    uint32_t head = blockIdx.y, dim = a.head_dim, lane = threadIdx.x % WARP;
    uint32_t q0 = sides.query_offsets[tile.sentence], k0 = sides.key_offsets[tile.sentence];
    uint32_t queries = sides.query_offsets[tile.sentence + 1] - q0;
    uint32_t keys = sides.key_offsets[tile.sentence + 1] - k0;
    uint64_t start = sides.mask_starts[tile.sentence];
    const T* key = a.key + (uint64_t)k0 * a.key_stride + head * dim;
    const T* value = a.value + (uint64_t)k0 * a.key_stride + head * dim;
    float* key_tile = shared;
    float* value_tile = shared + WARP * (dim + 1);
    float scale = 1.0f / sqrtf((float)dim);

    uint32_t query = tile.first + threadIdx.x / WARP;
    float own[PARTS], sums[PARTS], most = -INFINITY, total = 0.0f;
#pragma unroll
    for (int part = 0; part < PARTS; part++) own[part] = sums[part] = 0.0f;
    if (query < queries)
        read_row<PARTS>(own, a.query + (uint64_t)(q0 + query) * a.query_stride + head * dim,
                        dim, lane);
    for (uint32_t first = 0; first < keys; first += WARP) {
        load(key, a.key_stride, first, keys, dim, key_tile);
        load(value, a.key_stride, first, keys, dim, value_tile);
        __syncthreads();
        uint32_t rows = min((uint32_t)WARP, keys - first);
        if (query < queries) { // the same for the whole warp
            float score = products<PARTS>(own, key_tile, dim, lane) * scale;
            bool seen = first + lane < keys && sees(sight, query, first + lane);
            float now = fmaxf(most, warp_max(seen ? score : -INFINITY));
            if (now > -INFINITY) {
                float weight = seen ? expf(score - now) : 0.0f;
                float shrink = expf(most - now);
                total = total * shrink + warp_sum(weight);
                most = now;
                if (seen)
                    weight *= dropout_factor(
                        mask, mask_place(start, head, queries, keys, query, first + lane));
#pragma unroll
                for (int part = 0; part < PARTS; part++) sums[part] *= shrink;
                add_rows<PARTS>(sums, weight, value_tile, dim, lane, rows);
            }
        }
        __syncthreads();
    }
    if (query >= queries) return;
    // A row that sees nothing is zero.
    float factor = total > 0.0f ? 1.0f / total : 0.0f;
#pragma unroll
    for (int part = 0; part < PARTS; part++) sums[part] *= factor;
    uint64_t row = q0 + query;
    write_row<PARTS>(out + row * a.heads * dim + head * dim, sums, dim, lane);
    if (lane == 0) log_sums[row * a.heads + head] = most + logf(total);
}

// deltas[row, head] = Σ out · grad_out over the columns of the head
template <class T>
__device__ void attend_deltas(const T* out, const T* grad_out, float* deltas, uint32_t n,
                              uint32_t head_dim) {
    uint32_t lane = threadIdx.x % WARP;
    uint32_t i = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; // row · heads + head
    if (i >= n) return;
    float sum = 0.0f;
    for (uint32_t c = lane; c < head_dim; c += WARP) {
        uint64_t at = (uint64_t)i * head_dim + c;
        sum += up(out[at]) * up(grad_out[at]);
    }
    sum = warp_sum(sum);
    if (lane == 0) deltas[i] = sum;
}

// The gradient of the queries.
template <int PARTS, class T>
__device__ void attend_queries(const Attention<T>& a, const Sides& sides, const Tile* tiles,
                               const T* grad_out, const float* log_sums, const float* deltas,
                               T* grad_query, const Sight& sight, const Dropout& mask,
                               float* shared) {
    Tile tile = tiles[blockIdx.x];
    uint32_t head = blockIdx.y, dim = a.head_dim, lane = threadIdx.x % WARP;
    uint32_t q0 = sides.query_offsets[tile.sentence], k0 = sides.key_offsets[tile.sentence];
    uint32_t queries = sides.query_offsets[tile.sentence + 1] - q0;
    uint32_t keys = sides.key_offsets[tile.sentence + 1] - k0;
    uint64_t start = sides.mask_starts[tile.sentence];
    const T* key = a.key + (uint64_t)k0 * a.key_stride + head * dim;
    const T* value = a.value + (uint64_t)k0 * a.key_stride + head * dim;
    float* key_tile = shared;
    float* value_tile = shared + WARP * (dim + 1);
    float scale = 1.0f / sqrtf((float)dim);

    uint32_t query = tile.first + threadIdx.x / WARP;
    float own[PARTS], grads[PARTS], sums[PARTS], log_sum = 0.0f, delta = 0.0f;
#pragma unroll
    for (int part = 0; part < PARTS; part++)
        own[part] = grads[part] = sums[part] = 0.0f;
    if (query < queries) {
        uint64_t row = q0 + query;
        read_row<PARTS>(own, a.query + row * a.query_stride + head * dim, dim, lane);
        read_row<PARTS>(grads, grad_out + row * a.heads * dim + head * dim, dim, lane);
        log_sum = log_sums[row * a.heads + head];
        delta = deltas[row * a.heads + head];
    }
    for (uint32_t first = 0; first < keys; first += WARP) {
        load(key, a.key_stride, first, keys, dim, key_tile);
        load(value, a.key_stride, first, keys, dim, value_tile);
        __syncthreads();
        uint32_t rows = min((uint32_t)WARP, keys - first);
        if (query < queries) {
            float score = products<PARTS>(own, key_tile, dim, lane) * scale;
            float to_weight = products<PARTS>(grads, value_tile, dim, lane);
            float to_score = 0.0f;
            if (first + lane < keys && sees(sight, query, first + lane)) {
                float factor = dropout_factor(
                    mask, mask_place(start, head, queries, keys, query, first + lane));
                to_score = expf(score - log_sum) * (to_weight * factor - delta) * scale;
            }
            add_rows<PARTS>(sums, to_score, key_tile, dim, lane, rows);
        }
        __syncthreads();
    }
    if (query < queries)
        write_row<PARTS>(grad_query + (uint64_t)(q0 + query) * a.query_stride + head * dim,
                         sums, dim, lane);
}

// The gradients of keys and values: as above, with the sides exchanged.
template <int PARTS, class T>
__device__ void attend_keys(const Attention<T>& a, const Sides& sides, const Tile* tiles,
                            const T* grad_out, const float* log_sums, const float* deltas,
                            T* grad_key, T* grad_value, const Sight& sight, const Dropout& mask,
                            float* shared) {
    Tile tile = tiles[blockIdx.x];
    uint32_t head = blockIdx.y, dim = a.head_dim, lane = threadIdx.x % WARP;
    uint32_t q0 = sides.query_offsets[tile.sentence], k0 = sides.key_offsets[tile.sentence];
    uint32_t queries = sides.query_offsets[tile.sentence + 1] - q0;
    uint32_t keys = sides.key_offsets[tile.sentence + 1] - k0;
    uint64_t start = sides.mask_starts[tile.sentence];
    const T* query_rows = a.query + (uint64_t)q0 * a.query_stride + head * dim;
    const T* grad_rows = grad_out + (uint64_t)q0 * a.heads * dim + head * dim;
    float* query_tile = shared;
    float* grad_tile = shared + WARP * (dim + 1);
    float scale = 1.0f / sqrtf((float)dim);

    uint32_t place = tile.first + threadIdx.x / WARP;
    float own[PARTS], values[PARTS], keys_sum[PARTS], values_sum[PARTS];
#pragma unroll
    for (int part = 0; part < PARTS; part++)
        own[part] = values[part] = keys_sum[part] = values_sum[part] = 0.0f;
    if (place < keys) {
        uint64_t row = (uint64_t)(k0 + place) * a.key_stride + head * dim;
        read_row<PARTS>(own, a.key + row, dim, lane);
        read_row<PARTS>(values, a.value + row, dim, lane);
    }
    for (uint32_t first = 0; first < queries; first += WARP) {
        load(query_rows, a.query_stride, first, queries, dim, query_tile);
        load(grad_rows, a.heads * dim, first, queries, dim, grad_tile);
        __syncthreads();
        uint32_t rows = min((uint32_t)WARP, queries - first), query = first + lane;
        uint64_t row = (uint64_t)(q0 + min(query, queries - 1)) * a.heads + head;
        float log_sum = log_sums[row], delta = deltas[row];
        if (place < keys) {
            float score = products<PARTS>(own, query_tile, dim, lane) * scale;
            float to_weight = products<PARTS>(values, grad_tile, dim, lane);
            float weight = 0.0f, to_score = 0.0f;
            if (query < queries && sees(sight, query, place)) {
                float factor = dropout_factor(
                    mask, mask_place(start, head, queries, keys, query, place));
                weight = expf(score - log_sum);
                to_score = weight * (to_weight * factor - delta) * scale;
                weight *= factor;
            }
            add_rows<PARTS>(keys_sum, to_score, query_tile, dim, lane, rows);
            add_rows<PARTS>(values_sum, weight, grad_tile, dim, lane, rows);
        }
        __syncthreads();
    }
    if (place >= keys) return;
    uint64_t row = (uint64_t)(k0 + place) * a.key_stride + head * dim;
    write_row<PARTS>(grad_key + row, keys_sum, dim, lane);
    write_row<PARTS>(grad_value + row, values_sum, dim, lane);
}

// One kernel for each number of 32 columns that a head takes up.
#define ATTENTION_OF(T, NAME, PARTS)                                                              \
    extern "C" __global__ void attend_##NAME##_##PARTS(                                           \
        Attention<T> a, Sides sides, const Tile* tiles, T* out, float* log_sums, Sight sight,     \
        Dropout mask) {                                                                           \
        DYNAMIC_SHARED(shared);                                                                   \
        attend<PARTS, T>(a, sides, tiles, out, log_sums, sight, mask, shared);                    \
    }                                                                                             \
    extern "C" __global__ void attend_queries_##NAME##_##PARTS(                                   \
        Attention<T> a, Sides sides, const Tile* tiles, const T* grad_out, const float* log_sums, \
        const float* deltas, T* grad_query, Sight sight, Dropout mask) {                          \
        DYNAMIC_SHARED(shared);                                                                   \
        attend_queries<PARTS, T>(a, sides, tiles, grad_out, log_sums, deltas, grad_query, sight,  \
                                 mask, shared);                                                   \
    }                                                                                             \
    extern "C" __global__ void attend_keys_##NAME##_##PARTS(                                      \
        Attention<T> a, Sides sides, const Tile* tiles, const T* grad_out, const float* log_sums, \
        const float* deltas, T* grad_key, T* grad_value, Sight sight, Dropout mask) {             \
        DYNAMIC_SHARED(shared);                                                                   \
        attend_keys<PARTS, T>(a, sides, tiles, grad_out, log_sums, deltas, grad_key, grad_value,  \
                              sight, mask, shared);                                               \
    }
#define ATTENTION(T, NAME)                                                                        \
    ATTENTION_OF(T, NAME, 1)                                                                      \
    ATTENTION_OF(T, NAME, 2)                                                                      \
    ATTENTION_OF(T, NAME, 4)                                                                      \
    ATTENTION_OF(T, NAME, 8)                                                                      \
    extern "C" __global__ void attend_deltas_##NAME(const T* out, const T* grad_out,              \
                                                    float* deltas, uint32_t n,                    \
                                                    uint32_t head_dim) {                          \
        attend_deltas<T>(out, grad_out, deltas, n, head_dim);                                     \
    }
ATTENTION(float, f32)
ATTENTION(bf16, bf16)
