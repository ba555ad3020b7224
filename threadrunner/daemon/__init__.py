"""The persistent process: owns socket, clients and the life of models; holds no weights, imports no engine."""
