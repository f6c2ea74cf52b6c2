// What all kernels share: number types, sums over warps and blocks, dropout.
//
// Every sum here is formed in one order, which depends on shapes alone: the same input gives the
// same bits, on any GPU, however busy. Nothing is added with atomic operations.
#pragma once

#ifndef EMULATED
#include <cuda_bf16.h>
#include <stdint.h>
#endif

typedef __nv_bfloat16 bf16;

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Numbers are stored as `T` and computed with as `float`.
__device__ inline float up(float x) { return x; }
__device__ inline float up(bf16 x) { return __bfloat162float(x); }
template <class T> __device__ inline T down(float x);
template <> __device__ inline float down<float>(float x) { return x; }
template <> __device__ inline bf16 down<bf16>(float x) { return __float2bfloat16_rn(x); }

// Sum and maximum over a warp: every lane has it.
__device__ inline float warp_sum(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}

__device__ inline float warp_max(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, distance));
    return value;
}

// The same over a block of whole warps; `scratch` holds a number for each, and may be used again
// at once.
__device__ inline float block_sum(float value, float* scratch) {
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    value = warp_sum(value);
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    float sum = warp_sum(lane < warps ? scratch[lane] : 0.0f);
    __syncthreads();
    return sum;
}

__device__ inline float block_max(float value, float* scratch) {
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    value = warp_max(value);
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    float most = warp_max(lane < warps ? scratch[lane] : scratch[0]);
    __syncthreads();
    return most;
}

// A mask of `kernels::dropout::Mask`: the numbers, and what they are compared with. A threshold of
// zero drops nothing.
struct Dropout {
    uint32_t key[2];
    uint32_t counter[3];
    uint32_t threshold;
    float scale;
};

// Zero or the scale for element `i`: the very masks of the CPU, by seven rounds of Philox4x32
// (Salmon et al., 2011). Element `r` of group `g` of 128 takes a half of word `r / 16 % 4` of block
// `16 g + r % 16`.
__device__ inline float dropout_factor(const Dropout& mask, uint64_t i) {
    if (mask.threshold == 0) return 1.0f;
    uint32_t r = (uint32_t)(i % 128);
    uint32_t c0 = (uint32_t)(16 * (i / 128)) + r % 16;
    uint32_t c1 = mask.counter[0], c2 = mask.counter[1], c3 = mask.counter[2];
    uint32_t k0 = mask.key[0], k1 = mask.key[1];
#pragma unroll
    for (int round = 0; round < 7; round++) {
        if (round > 0) {
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        uint64_t first = (uint64_t)0xD2511F53u * c0, second = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(second >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)second;
        c2 = (uint32_t)(first >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)first;
    }
    uint32_t which = r / 16 % 4;
    uint32_t word = which == 0 ? c0 : which == 1 ? c1 : which == 2 ? c2 : c3;
    uint32_t number = (r < 64 ? word : word >> 16) & 0xffffu;
    return number < mask.threshold ? 0.0f : mask.scale;
}

// Floats in shared memory, as many as the launch asks for.
#ifndef EMULATED
#define DYNAMIC_SHARED(name) extern __shared__ float name[]
#endif

// The elements of this thread where a grid goes over `n` of them in strides.
#define EACH_ELEMENT(i, n)                                                        \
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n);   \
         i += (uint64_t)gridDim.x * blockDim.x)
