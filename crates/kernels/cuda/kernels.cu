// All kernels, as one module. The order matters where one file uses another's helpers.
#include "common.cuh"

#include "elements.cu"
#include "sums.cu"
#include "norm.cu"
#include "embedding.cu"
#include "cross_entropy.cu"
#include "attention.cu"
#include "adam.cu"
#include "recurrent.cu"
#include "product.cu"
#include "search.cu"
#include "luong.cu"
