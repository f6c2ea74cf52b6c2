// Layer norm and RMS norm: `kernels::norm` has the formulas. A warp takes a row.
#include "common.cuh"

template <class T>
__device__ void norm_forward(const T* x, const float* weight, const float* bias, T* y,
                             float* means, float* factors, uint32_t rows, uint32_t dim,
                             uint32_t layer, float eps) {
    uint32_t lane = threadIdx.x % WARP;
    uint32_t row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    x += (uint64_t)row * dim;
    y += (uint64_t)row * dim;
    float mean = 0.0f;
    if (layer) {
        for (uint32_t i = lane; i < dim; i += WARP) mean += up(x[i]);
        mean = warp_sum(mean) / dim;
    }
    float squares = 0.0f;
    for (uint32_t i = lane; i < dim; i += WARP) {
        float difference = up(x[i]) - mean;
        squares += difference * difference;
    }
    float factor = 1.0f / sqrtf(warp_sum(squares) / dim + eps);
    for (uint32_t i = lane; i < dim; i += WARP) {
        float value = (up(x[i]) - mean) * factor * weight[i];
        y[i] = down<T>(bias ? value + bias[i] : value);
    }
    if (lane == 0) {
        means[row] = mean;
        factors[row] = factor;
    }
}

template <class T>
__device__ void norm_backward(const T* x, const float* weight, const float* means,
                              const float* factors, const T* grad, T* grad_x, uint32_t rows,
                              uint32_t dim, uint32_t layer) {
    uint32_t lane = threadIdx.x % WARP;
    uint32_t row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    x += (uint64_t)row * dim;
    grad += (uint64_t)row * dim;
    grad_x += (uint64_t)row * dim;
    float mean = means[row], factor = factors[row];
    float level = 0.0f, tilt = 0.0f;
    for (uint32_t i = lane; i < dim; i += WARP) {
        float h = up(grad[i]) * weight[i];
        level += h;
        tilt += h * (up(x[i]) - mean) * factor;
    }
    level = layer ? warp_sum(level) / dim : 0.0f;
    tilt = warp_sum(tilt) / dim;
    for (uint32_t i = lane; i < dim; i += WARP) {
        float unit = (up(x[i]) - mean) * factor;
        grad_x[i] = down<T>(factor * (up(grad[i]) * weight[i] - level - unit * tilt));
    }
}

// Gradients of weight and bias of a chunk of rows, [chunks, dim] each; `column_sums` adds them up.
template <class T>
__device__ void norm_backward_weights(const T* x, const float* means, const float* factors,
                                      const T* grad, float* weights, float* biases, uint32_t rows,
                                      uint32_t dim, uint32_t chunk) {
    __shared__ float scratch[TILE * TILE];
    uint32_t column = blockIdx.x * TILE + threadIdx.x;
    uint32_t first = blockIdx.y * chunk, end = min(first + chunk, rows);
    float weight = 0.0f, bias = 0.0f;
    if (column < dim) {
        for (uint32_t row = first + threadIdx.y; row < end; row += TILE) {
            uint64_t at = (uint64_t)row * dim + column;
            float g = up(grad[at]);
            weight += g * (up(x[at]) - means[row]) * factors[row];
            bias += g;
        }
    }
    weight = tile_sum(weight, scratch);
    bias = tile_sum(bias, scratch);
    if (threadIdx.y == 0 && column < dim) {
        weights[(uint64_t)blockIdx.y * dim + column] = weight;
        biases[(uint64_t)blockIdx.y * dim + column] = bias;
    }
}

#define NORM(T, NAME)                                                                             \
    extern "C" __global__ void norm_forward_##NAME(                                               \
        const T* x, const float* weight, const float* bias, T* y, float* means, float* factors,   \
        uint32_t rows, uint32_t dim, uint32_t layer, float eps) {                                 \
        norm_forward<T>(x, weight, bias, y, means, factors, rows, dim, layer, eps);               \
    }                                                                                             \
    extern "C" __global__ void norm_backward_##NAME(                                              \
        const T* x, const float* weight, const float* means, const float* factors, const T* grad, \
        T* grad_x, uint32_t rows, uint32_t dim, uint32_t layer) {                                 \
        norm_backward<T>(x, weight, means, factors, grad, grad_x, rows, dim, layer);              \
    }                                                                                             \
    extern "C" __global__ void norm_backward_weights_##NAME(                                      \
        const T* x, const float* means, const float* factors, const T* grad, float* weights,      \
        float* biases, uint32_t rows, uint32_t dim, uint32_t chunk) {                             \
        norm_backward_weights<T>(x, means, factors, grad, weights, biases, rows, dim, chunk);     \
    }
NORM(float, f32)
NORM(bf16, bf16)
