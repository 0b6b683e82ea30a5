"""The bundled tasks' titles and descriptions in Chinese, by their English ones."""

TEXTS: dict[str, str] = {
    "Handwritten digits, MLP": "手写数字，多层感知机",
    "1,797 real handwritten digits of 8 × 8 pixels (1,200 to train on, 597 held out); an MLP 64-128-64-10 with ReLU, batches of 32.": "1797 个真实的 8 × 8 像素手写数字（1200 个用于训练，597 个留出）；ReLU 多层感知机 64-128-64-10，批大小 32。",
    "Handwritten digits, autoencoder": "手写数字，自编码器",
    "The pixels of 1,797 handwritten digits squeezed through 8 numbers and back; a tanh autoencoder 64-64-32-8-32-64-64, batches of 64.": "把 1797 个手写数字的像素压缩成 8 个数再还原；tanh 自编码器 64-64-32-8-32-64-64，批大小 64。",
    "MNIST-1D, convolutional net": "MNIST-1D，卷积网络",
    "5,000 one-dimensional signals of 40 points in ten classes (4,000 to train on, 1,000 held out); three strided convolutions of 24 channels and a linear layer, batches of 64.": "5000 个 40 点的一维信号，共十类（4000 个用于训练，1000 个留出）；三层 24 通道的步进卷积和一个线性层，批大小 64。",
    "English text, character transformer": "英文文本，字符级 Transformer",
    "465,024 characters of the help topics of Python (the last tenth held out); a transformer of two layers, width 64, four heads and a context of 48 characters, batches of 16.": "Python 帮助主题的 465024 个字符（最后十分之一留出）；两层、宽 64、四个注意力头、上下文 48 个字符的 Transformer，批大小 16。",
    "Diabetes progression, regression": "糖尿病进展，回归",
    "Ten measurements of 442 patients and the progression of the disease a year later (300 to train on, 142 held out), standardized; an MLP 10-32-1 with tanh, batches of 32.": "442 名患者的十项测量与一年后的病情进展（300 名用于训练，142 名留出），已标准化；tanh 多层感知机 10-32-1，批大小 32。",
    "Breast cancer, logistic regression": "乳腺癌，逻辑回归",
    "30 measurements of 569 tumours, benign or malignant (400 to train on, 169 held out), standardized; logistic regression with an L2 penalty of 0.001, batches of 32. Convex.": "569 个良性或恶性肿瘤的 30 项测量（400 个用于训练，169 个留出），已标准化；L2 惩罚为 0.001 的逻辑回归，批大小 32。凸问题。",
    "Ill-conditioned quadratic": "病态二次函数",
    "½ Σ λᵢ cᵢ² in 50 dimensions, λ log-spaced from 1 to 1/1000, axes turned against the parameters, exact gradients, from a random point on the unit sphere. The optimum is 0.": "50 维的 ½ Σ λᵢ cᵢ²，λ 从 1 到 1/1000 按对数等距，坐标轴相对参数旋转，梯度精确，从单位球面上的随机点出发。最优值为 0。",
    "Noisy quadratic": "带噪二次函数",
    "½ Σ λᵢ cᵢ² in 50 dimensions, λ log-spaced from 1 to 1/10, axes turned against the parameters, a fresh centre ~ N(0, 0.1²) for each of the 4 members of a batch: the noise of the gradient stays at the optimum. The loss shown is the excess over it.": "50 维的 ½ Σ λᵢ cᵢ²，λ 从 1 到 1/10 按对数等距，坐标轴相对参数旋转，批中 4 个成员各有新的中心 ~ N(0, 0.1²)：在最优点梯度仍有噪声。所示损失为超出最优值的部分。",
}
