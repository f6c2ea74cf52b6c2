// Attention of Luong, Pham and Manning (2015) for the newest word of each hypothesis, the whole grid:
// `attn::Kernel` has the formulas. A block takes a row.
#include "common.cuh"

// Kinds and scores by their numbers.
enum { GLOBAL = 0, MONOTONIC = 1, PREDICTIVE = 2 };
enum { DOT = 0, CONCAT = 1, LOCATION = 2 };

struct Luong {
    const float* states; // [src rows, dim]
    const float* keys;   // [src rows, key_dim]
    const float* score;  // v_a [key_dim] of concat, or W_a [limit, dim] of location
    const float* place;  // v_p [place_dim] of a predicted position
    uint32_t dim;
    uint32_t key_dim;
    uint32_t score_dim; // of a projected query, what concat takes; the rest is that of the position
    uint32_t place_dim;
};

struct Window {
    uint32_t kind;
    uint32_t score;
    uint32_t size; // D
    uint32_t rounded;
    uint32_t limit; // source positions that are told apart
    uint32_t renormalize;
    float sharpness; // 1 / 2σ²
    uint32_t position; // t, counted from 0
};

extern "C" __global__ void luong_step(Luong a, Window w, const float* query, const float* projected,
                                      const uint32_t* starts, const uint32_t* lengths,
                                      float* contexts, float* weights, uint32_t longest) {
    DYNAMIC_SHARED(scores); // [longest]
    __shared__ float scratch[WARP];
    uint32_t row = blockIdx.x, lane = threadIdx.x % WARP;
    uint32_t warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    uint64_t base = starts[row];
    uint32_t length = min(lengths[row], w.limit);
    query += (uint64_t)row * a.dim;
    projected += (uint64_t)row * (a.score_dim + a.place_dim);

    // The positions that are seen, and where the middle is predicted.
    float middle = 0.0f;
    uint32_t first = 0, end = length;
    if (w.kind == MONOTONIC) {
        uint32_t at = min(w.position, length > 0 ? length - 1 : 0);
        first = at > w.size ? at - w.size : 0;
        end = min((uint64_t)at + w.size + 1, (uint64_t)length);
    } else if (w.kind == PREDICTIVE) {
        float sum = 0.0f;
        for (uint32_t i = threadIdx.x; i < a.place_dim; i += blockDim.x)
            sum += a.place[i] * tanhf(projected[a.score_dim + i]);
        middle = (float)length / (1.0f + expf(-block_sum(sum, scratch)));
        double size = w.size, from, to;
        if (w.rounded) {
            from = round((double)middle) - size;
            to = round((double)middle) + size;
        } else {
            from = ceil((double)middle - size);
            to = floor((double)middle + size);
        }
        // A middle that is no number sees all, and the weights tell.
        first = from > 1.0 ? (uint32_t)from - 1 : 0;
        end = to < (double)length ? (uint32_t)to : length;
    }

    // A warp takes a position.
    for (uint32_t s = first + warp; s < end; s += warps) {
        const float* key = w.score == LOCATION ? a.score + (uint64_t)s * a.dim
                                               : a.keys + (base + s) * a.key_dim;
        float sum = 0.0f;
        if (w.score == CONCAT) {
            for (uint32_t i = lane; i < a.key_dim; i += WARP)
                sum += a.score[i] * tanhf(projected[i] + key[i]);
        } else {
            for (uint32_t i = lane; i < a.dim; i += WARP) sum += query[i] * key[i];
        }
        sum = warp_sum(sum);
        float distance = (float)(s + 1) - middle;
        if (w.kind == PREDICTIVE && w.renormalize) sum -= w.sharpness * distance * distance;
        if (lane == 0) scores[s] = sum;
    }
    __syncthreads();
    float most = -INFINITY, total = 0.0f;
    for (uint32_t s = first + threadIdx.x; s < end; s += blockDim.x) most = fmaxf(most, scores[s]);
    most = block_max(most, scratch);
    for (uint32_t s = first + threadIdx.x; s < end; s += blockDim.x) {
        scores[s] = expf(scores[s] - most);
        total += scores[s];
    }
    total = block_sum(total, scratch);
    for (uint32_t s = threadIdx.x; s < longest; s += blockDim.x) {
        float weight = 0.0f;
        if (first <= s && s < end) {
            float distance = (float)(s + 1) - middle;
            weight = scores[s] / total;
            if (w.kind == PREDICTIVE && !w.renormalize)
                weight *= expf(-(w.sharpness * distance * distance));
        }
        scores[s] = weight;
        weights[(uint64_t)row * longest + s] = weight;
    }
    __syncthreads();
    for (uint32_t c = threadIdx.x; c < a.dim; c += blockDim.x) {
        float sum = 0.0f;
        for (uint32_t s = first; s < end; s++) sum += scores[s] * a.states[(base + s) * a.dim + c];
        contexts[(uint64_t)row * a.dim + c] = sum;
    }
}
