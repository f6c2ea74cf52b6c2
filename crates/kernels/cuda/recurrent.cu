// The gates of a recurrent step: all of it but its matrix products. `kernels::recurrent` has the
// formulas. `inputs` is the share of the inputs, `recurrent` that of the state before, [rows, gates ·
// dim] each; both come with their biases.
#include "common.cuh"

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// out[row] = [h; c], of LSTM gates [i; f; g; o] and c′
extern "C" __global__ void lstm_f32(const float* inputs, const float* recurrent,
                                    const float* before, float* out, uint64_t n, uint32_t dim) {
    EACH_ELEMENT(i, n) {
        uint64_t row = i / dim, at = row * 4 * dim + i % dim;
        float input = sigmoid(inputs[at] + recurrent[at]);
        float forget = sigmoid(inputs[at + dim] + recurrent[at + dim]);
        float candidate = tanhf(inputs[at + 2 * dim] + recurrent[at + 2 * dim]);
        float output = sigmoid(inputs[at + 3 * dim] + recurrent[at + 3 * dim]);
        float cell = forget * before[i] + input * candidate;
        out[row * 2 * dim + i % dim] = output * tanhf(cell);
        out[row * 2 * dim + dim + i % dim] = cell;
    }
}

// The gradients of the sums of gates, which are those of `inputs` and of `recurrent`, and of c′.
extern "C" __global__ void lstm_backward_f32(const float* inputs, const float* recurrent,
                                             const float* before, const float* grad,
                                             float* grad_gates, float* grad_before, uint64_t n,
                                             uint32_t dim) {
    EACH_ELEMENT(i, n) {
        uint64_t row = i / dim, at = row * 4 * dim + i % dim;
        float input = sigmoid(inputs[at] + recurrent[at]);
        float forget = sigmoid(inputs[at + dim] + recurrent[at + dim]);
        float candidate = tanhf(inputs[at + 2 * dim] + recurrent[at + 2 * dim]);
        float output = sigmoid(inputs[at + 3 * dim] + recurrent[at + 3 * dim]);
        float squashed = tanhf(forget * before[i] + input * candidate);
        float to_hidden = grad[row * 2 * dim + i % dim];
        float to_cell = grad[row * 2 * dim + dim + i % dim] +
                        to_hidden * output * (1.0f - squashed * squashed);
        grad_gates[at] = to_cell * candidate * input * (1.0f - input);
        grad_gates[at + dim] = to_cell * before[i] * forget * (1.0f - forget);
        grad_gates[at + 2 * dim] = to_cell * input * (1.0f - candidate * candidate);
        grad_gates[at + 3 * dim] = to_hidden * squashed * output * (1.0f - output);
        grad_before[i] = to_cell * forget;
    }
}

// out = h, of GRU gates [r; z; n] and h′
extern "C" __global__ void gru_f32(const float* inputs, const float* recurrent,
                                   const float* before, float* out, uint64_t n, uint32_t dim) {
    EACH_ELEMENT(i, n) {
        uint64_t at = i / dim * 3 * dim + i % dim;
        float reset = sigmoid(inputs[at] + recurrent[at]);
        float update = sigmoid(inputs[at + dim] + recurrent[at + dim]);
        float candidate = tanhf(inputs[at + 2 * dim] + reset * recurrent[at + 2 * dim]);
        out[i] = candidate + update * (before[i] - candidate);
    }
}

extern "C" __global__ void gru_backward_f32(const float* inputs, const float* recurrent,
                                            const float* before, const float* grad,
                                            float* grad_inputs, float* grad_recurrent,
                                            float* grad_before, uint64_t n, uint32_t dim) {
    EACH_ELEMENT(i, n) {
        uint64_t at = i / dim * 3 * dim + i % dim;
        float reset = sigmoid(inputs[at] + recurrent[at]);
        float update = sigmoid(inputs[at + dim] + recurrent[at + dim]);
        float candidate = tanhf(inputs[at + 2 * dim] + reset * recurrent[at + 2 * dim]);
        float to_sum = grad[i] * (1.0f - update) * (1.0f - candidate * candidate);
        float to_reset = to_sum * recurrent[at + 2 * dim] * reset * (1.0f - reset);
        float to_update = grad[i] * (before[i] - candidate) * update * (1.0f - update);
        grad_inputs[at] = grad_recurrent[at] = to_reset;
        grad_inputs[at + dim] = grad_recurrent[at + dim] = to_update;
        grad_inputs[at + 2 * dim] = to_sum;
        grad_recurrent[at + 2 * dim] = to_sum * reset;
        grad_before[i] = grad[i] * update;
    }
}
