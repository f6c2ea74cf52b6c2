// Element by element: biases, residual connections with dropout, activations, rotations.
#include "common.cuh"

// x[row, column] += bias[column]
template <class T>
__device__ void add_bias(T* x, const float* bias, uint64_t n, uint32_t columns) {
    EACH_ELEMENT(i, n) x[i] = down<T>(up(x[i]) + bias[i % columns]);
}

// y = x + mask ⊙ a, where there is an x; the gradient of a is mask ⊙ the gradient of y.
template <class T>
__device__ void drop_and_add(const T* a, const T* x, T* y, uint64_t n, const Dropout& mask) {
    EACH_ELEMENT(i, n) {
        float kept = up(a[i]) * dropout_factor(mask, i);
        y[i] = down<T>(x ? up(x[i]) + kept : kept);
    }
}

// The mask as numbers, [rows, dim]: row r draws those of row origins[r], or its own.
template <class T>
__device__ void dropout_factors(T* out, const uint32_t* origins, uint64_t n, uint32_t dim,
                                const Dropout& mask) {
    EACH_ELEMENT(i, n) {
        uint64_t row = i / dim;
        out[i] = down<T>(dropout_factor(mask, (origins ? origins[row] : row) * dim + i % dim));
    }
}

// Activation functions by their numbers in `Activation`.
enum { RELU = 0, GELU = 1, SWISH = 2 };

__device__ inline float activated(uint32_t kind, float x) {
    if (kind == RELU) return fmaxf(x, 0.0f);
    if (kind == GELU) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    return x / (1.0f + expf(-x));
}

__device__ inline float slope(uint32_t kind, float x) {
    if (kind == RELU) return x > 0.0f ? 1.0f : 0.0f;
    if (kind == GELU) {
        float density = 0.39894228040143268f * expf(-0.5f * x * x);
        return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + x * density;
    }
    float gate = 1.0f / (1.0f + expf(-x));
    return gate * (1.0f + x * (1.0f - gate));
}

// y[row, c] = mask ⊙ f(x[row, c]), or, gated, mask ⊙ f(x[row, c]) x[row, width + c]
template <class T>
__device__ void activate(const T* x, T* y, uint64_t n, uint32_t width, uint32_t kind,
                         uint32_t gated, const Dropout& mask) {
    EACH_ELEMENT(i, n) {
        float value;
        if (gated) {
            const T* pair = x + i / width * 2 * width + i % width;
            value = activated(kind, up(pair[0])) * up(pair[width]);
        } else {
            value = activated(kind, up(x[i]));
        }
        y[i] = down<T>(value * dropout_factor(mask, i));
    }
}

template <class T>
__device__ void activate_backward(const T* x, const T* grad, T* grad_x, uint64_t n, uint32_t width,
                                  uint32_t kind, uint32_t gated, const Dropout& mask) {
    EACH_ELEMENT(i, n) {
        float g = up(grad[i]) * dropout_factor(mask, i);
        if (gated) {
            uint64_t at = i / width * 2 * width + i % width;
            float gate = up(x[at]), value = up(x[at + width]);
            grad_x[at] = down<T>(g * value * slope(kind, gate));
            grad_x[at + width] = down<T>(g * activated(kind, gate));
        } else {
            grad_x[i] = down<T>(g * slope(kind, up(x[i])));
        }
    }
}

// Turns the two halves of each head by angles that grow with the place of the row (rotary
// positions): rows `stride` apart, the first `turned` columns of each, in heads of `head_dim`.
// `direction` is 1, or −1 for the way back.
template <class T>
__device__ void rotate(T* x, const uint32_t* places, uint64_t n, uint32_t stride, uint32_t turned,
                       uint32_t head_dim, float direction) {
    uint32_t half = head_dim / 2;
    uint32_t pairs = turned / 2;
    EACH_ELEMENT(i, n) {
        uint32_t row = (uint32_t)(i / pairs), pair = (uint32_t)(i % pairs);
        uint32_t k = pair % half;
        // Angles grow to the length of a sentence: too large for single precision.
        double angle = (double)places[row] * exp2(-2.0 * k / head_dim * 13.287712379549449);
        float sine = direction * (float)sin(angle), cosine = (float)cos(angle);
        T* at = x + (uint64_t)row * stride + pair / half * head_dim + k;
        float left = up(at[0]), right = up(at[half]);
        at[0] = down<T>(left * cosine - right * sine);
        at[half] = down<T>(left * sine + right * cosine);
    }
}

#define ELEMENTS(T, NAME)                                                                         \
    extern "C" __global__ void add_bias_##NAME(T* x, const float* bias, uint64_t n,               \
                                               uint32_t columns) {                                \
        add_bias<T>(x, bias, n, columns);                                                         \
    }                                                                                             \
    extern "C" __global__ void drop_and_add_##NAME(const T* a, const T* x, T* y, uint64_t n,      \
                                                   Dropout mask) {                                \
        drop_and_add<T>(a, x, y, n, mask);                                                        \
    }                                                                                             \
    extern "C" __global__ void dropout_factors_##NAME(T* out, const uint32_t* origins,            \
                                                      uint64_t n, uint32_t dim, Dropout mask) {   \
        dropout_factors<T>(out, origins, n, dim, mask);                                           \
    }                                                                                             \
    extern "C" __global__ void activate_##NAME(const T* x, T* y, uint64_t n, uint32_t width,      \
                                               uint32_t kind, uint32_t gated, Dropout mask) {     \
        activate<T>(x, y, n, width, kind, gated, mask);                                           \
    }                                                                                             \
    extern "C" __global__ void activate_backward_##NAME(                                          \
        const T* x, const T* grad, T* grad_x, uint64_t n, uint32_t width, uint32_t kind,          \
        uint32_t gated, Dropout mask) {                                                           \
        activate_backward<T>(x, grad, grad_x, n, width, kind, gated, mask);                       \
    }                                                                                             \
    extern "C" __global__ void rotate_##NAME(T* x, const uint32_t* places, uint64_t n,            \
                                             uint32_t stride, uint32_t turned, uint32_t head_dim, \
                                             float direction) {                                   \
        rotate<T>(x, places, n, stride, turned, head_dim, direction);                             \
    }
ELEMENTS(float, f32)
ELEMENTS(bf16, bf16)
