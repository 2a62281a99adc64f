"""Answers to exercises of distillation, as a reader would write them; the tests grade each."""


def distill(student, teacher, mask, temperature, reverse):
    log_student = (student / temperature).log_softmax(-1)
    log_teacher = (teacher / temperature).log_softmax(-1)
    log_p, log_q = (log_student, log_teacher) if reverse else (log_teacher, log_student)
    divergences = (log_p.exp() * (log_p - log_q)).sum(-1)
    return temperature**2 * (divergences * mask).sum() / mask.sum()
