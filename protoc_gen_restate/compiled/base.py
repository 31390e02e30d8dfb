"""Compiled by `python -m protoc_gen_restate.precompile`. Do not edit."""

digest = "9be6a3431637fe375324ee3854bd385c80888d20c42e43d24bd234130f840625"
from jinja2.runtime import LoopContext, Macro, Markup, Namespace, TemplateNotFound, TemplateReference, TemplateRuntimeError, Undefined, escape, identity, internalcode, markup_join, missing, str_join
name = 'base.py.j2'

def root(context, missing=missing):
    resolve = context.resolve_or_missing
    undefined = environment.undefined
    concat = environment.concat
    cond_expr_undefined = Undefined
    if 0: yield None
    l_0_service = resolve('service')
    l_0_restate = resolve('restate')
    l_0_item = resolve('item')
    try:
        t_1 = environment.filters['docstring']
    except KeyError:
        @internalcode
        def t_1(*unused):
            raise TemplateRuntimeError("No filter named 'docstring' found.")
    pass
    yield 'class '
    yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'python_name'))
    yield 'Base('
    yield str((undefined(name='restate') if l_0_restate is missing else l_0_restate))
    yield '.Service):\n    '
    yield str(t_1(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'documentation'), 4))
    yield '\n\n    __restate_service__ = '
    yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'constant'))
    yield '\n'
    if environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states'):
        pass
        yield '    __restate_context__ = '
        yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'python_name'))
        yield 'Context\n'
    if environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'has_shared_state'):
        pass
        yield '    __restate_shared_context__ = Shared'
        yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'python_name'))
        yield 'Context\n'
    for l_1_page_method in environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'methods'):
        l_1_page = resolve('page')
        l_1_signature = resolve('signature')
        l_1_method = l_1_parameters = missing
        _loop_vars = {}
        pass
        l_1_method = environment.getattr(l_1_page_method, 'method')
        _loop_vars['method'] = l_1_method
        yield '\n'
        if environment.getattr((undefined(name='page') if l_1_page is missing else l_1_page), 'abstract'):
            pass
            yield '    @'
            yield str(environment.getattr(environment.getattr((undefined(name='page') if l_1_page is missing else l_1_page), 'names'), 'abc'))
            yield '.abstractmethod\n'
        l_1_parameters = (['self', str_join(('ctx: ', environment.getattr(l_1_page_method, 'context'), ))] + ([] if environment.getattr(l_1_page_method, 'empty_request') else [str_join(('request: ', environment.getattr(environment.getattr(l_1_page_method, 'request'), 'annotation'), ))]))
        _loop_vars['parameters'] = l_1_parameters
        yield str(context.call((undefined(name='signature') if l_1_signature is missing else l_1_signature), str_join(('async def ', environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'python_name'), )), (undefined(name='parameters') if l_1_parameters is missing else l_1_parameters), str_join((' -> ', ('None' if environment.getattr(l_1_page_method, 'empty_response') else environment.getattr(environment.getattr(l_1_page_method, 'response'), 'annotation')), ':', )), 4, _loop_vars=_loop_vars))
        yield '\n        '
        yield str(t_1(environment.getattr(l_1_page_method, 'documentation'), 8))
        yield '\n'
        if (not environment.getattr((undefined(name='page') if l_1_page is missing else l_1_page), 'abstract')):
            pass
            yield '        raise '
            yield str((undefined(name='restate') if l_0_restate is missing else l_0_restate))
            yield '.TerminalError("'
            yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'full_name'))
            yield '/'
            yield str(environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'name'))
            yield ' is not implemented", '
            yield str((undefined(name='restate') if l_0_restate is missing else l_0_restate))
            yield '.Code.UNIMPLEMENTED)\n'
    l_1_page_method = l_1_method = l_1_page = l_1_parameters = l_1_signature = missing
    yield '\n    # @@protoc_insertion_point(base:'
    yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'full_name'))
    yield ')\n'

blocks = {}
debug_info = '1=21&2=25&4=27&5=29&6=32&8=34&9=37&11=39&12=45&14=48&15=51&17=53&18=55&19=57&20=59&21=62&25=72'
