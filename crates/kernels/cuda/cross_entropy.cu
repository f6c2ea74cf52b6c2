// Label-smoothed cross-entropy of rows of logits, and its gradient in their place:
// `kernels::cross_entropy` has the formulas. A block takes a row.
#include "common.cuh"

template <class T>
__device__ void cross_entropy(T* logits, const float* bias, const uint32_t* targets,
                              float* objective, float* nats, uint32_t vocab, float smoothing,
                              uint32_t differentiable) {
    __shared__ float scratch[WARP];
    uint32_t row = blockIdx.x, target = targets[row];
    logits += (uint64_t)row * vocab;
    // The largest logit so far, Σ exp(logit − largest), and Σ logits.
    float most = -INFINITY, sum = 0.0f, all = 0.0f;
    for (uint32_t i = threadIdx.x; i < vocab; i += blockDim.x) {
        float z = up(logits[i]) + bias[i];
        all += z;
        if (z > most) {
            sum = sum * expf(most - z) + 1.0f;
            most = z;
        } else {
            sum += expf(z - most);
        }
    }
    float top = block_max(most, scratch);
    // A thread without a logit has seen none: exp(−∞) of nothing.
    sum = block_sum(most > -INFINITY ? sum * expf(most - top) : 0.0f, scratch);
    all = block_sum(all, scratch);
    float log_sum = top + logf(sum);
    if (threadIdx.x == 0) {
        float plain = log_sum - (up(logits[target]) + bias[target]);
        nats[row] = plain;
        objective[row] = (1.0f - smoothing) * plain + smoothing * (log_sum - all / vocab);
    }
    if (!differentiable) return;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < vocab; i += blockDim.x) {
        float gradient = expf(up(logits[i]) + bias[i] - log_sum) - smoothing / vocab;
        if (i == target) gradient -= 1.0f - smoothing;
        logits[i] = down<T>(gradient);
    }
}

extern "C" __global__ void cross_entropy_f32(float* logits, const float* bias,
                                             const uint32_t* targets, float* objective, float* nats,
                                             uint32_t vocab, float smoothing,
                                             uint32_t differentiable) {
    cross_entropy<float>(logits, bias, targets, objective, nats, vocab, smoothing, differentiable);
}
extern "C" __global__ void cross_entropy_bf16(bf16* logits, const float* bias,
                                              const uint32_t* targets, float* objective,
                                              float* nats, uint32_t vocab, float smoothing,
                                              uint32_t differentiable) {
    cross_entropy<bf16>(logits, bias, targets, objective, nats, vocab, smoothing, differentiable);
}
