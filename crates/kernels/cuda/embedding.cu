// Rows of a table by their ids, with positions, scale and dropout.
#include "common.cuh"

// y[row] = mask ⊙ (scale · kept · table[ids[row]] + positions[places[row]]), where `kept` is zero
// for words that are dropped whole. Without `places` all rows are at the first.
template <class T>
__device__ void embed(const float* table, const uint32_t* ids, const float* positions,
                      const uint32_t* places, T* y, uint64_t n, uint32_t dim, float scale,
                      const Dropout& words, const Dropout& mask) {
    EACH_ELEMENT(i, n) {
        uint64_t row = i / dim;
        uint32_t column = (uint32_t)(i % dim);
        float kept = dropout_factor(words, row) > 0.0f ? scale : 0.0f;
        float value = kept * table[(uint64_t)ids[row] * dim + column];
        if (positions) value += positions[(places ? (uint64_t)places[row] * dim : 0) + column];
        y[i] = down<T>(value * dropout_factor(mask, i));
    }
}

// The gradients of the rows of a table. Rows of `grad` come in segments, each of one id; a block
// sums one segment, in the order of its rows: sums[segment] = Σ scale · kept · mask ⊙ grad[row]
template <class T>
__device__ void embed_backward(const T* grad, const uint32_t* order, const uint32_t* segments,
                               float* sums, uint32_t dim, float scale, const Dropout& words,
                               const Dropout& mask) {
    uint32_t first = segments[blockIdx.x], end = segments[blockIdx.x + 1];
    for (uint32_t column = threadIdx.x; column < dim; column += blockDim.x) {
        float sum = 0.0f;
        for (uint32_t k = first; k < end; k++) {
            uint32_t row = order[k];
            uint64_t at = (uint64_t)row * dim + column;
            if (dropout_factor(words, row) > 0.0f)
                sum += up(grad[at]) * dropout_factor(mask, at);
        }
        sums[(uint64_t)blockIdx.x * dim + column] = scale * sum;
    }
}

// grad_table[ids[k]] = Σ sums[segment] over the segments of the k-th id. Other rows stay.
extern "C" __global__ void embed_collect(const float* sums, const uint32_t* ids,
                                         const uint32_t* groups, float* grad_table, uint32_t dim) {
    uint32_t first = groups[blockIdx.x], end = groups[blockIdx.x + 1];
    for (uint32_t column = threadIdx.x; column < dim; column += blockDim.x) {
        float sum = 0.0f;
        for (uint32_t segment = first; segment < end; segment++)
            sum += sums[(uint64_t)segment * dim + column];
        grad_table[(uint64_t)ids[blockIdx.x] * dim + column] = sum;
    }
}

#define EMBEDDING(T, NAME)                                                                        \
    extern "C" __global__ void embed_##NAME(                                                      \
        const float* table, const uint32_t* ids, const float* positions, const uint32_t* places,  \
        T* y, uint64_t n, uint32_t dim, float scale, Dropout words, Dropout mask) {               \
        embed<T>(table, ids, positions, places, y, n, dim, scale, words, mask);                   \
    }                                                                                             \
    extern "C" __global__ void embed_backward_##NAME(                                             \
        const T* grad, const uint32_t* order, const uint32_t* segments, float* sums,              \
        uint32_t dim, float scale, Dropout words, Dropout mask) {                                 \
        embed_backward<T>(grad, order, segments, sums, dim, scale, words, mask);                  \
    }
EMBEDDING(float, f32)
EMBEDDING(bf16, bf16)
